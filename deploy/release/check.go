// Compares what a release says of itself with what was compiled for it.
//
//	cargo build … --message-format=json | go run deploy/release/check.go FOLDER      (FOLDER has NOTICES and sbom.cdx.json)
//
// Every crate that cargo compiled for a target, and nothing else but std, musl and the unwinder, must be in the bill of materials
// and under its licence's text in NOTICES. The bill must have the form of CycloneDX 1.5 and hang together.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What is linked in and is no crate.
var beside = []string{"libunwind", "musl", "rust-std"}

// CycloneDX, as far as it is used; a field that is not here is an error.
type bill struct {
	BomFormat, SpecVersion, SerialNumber string
	Version                              int
	Metadata                             struct {
		Timestamp string
		Component component
	}
	Components   []component
	Dependencies []struct {
		Ref       string
		DependsOn []string
	}
}

type component struct {
	Type, Name, Version, Purl string
	BomRef                    string `json:"bom-ref"`
	Licenses                  []struct{ Expression string }
	Hashes                    []struct{ Alg, Content string }
}

func (c component) String() string { return strings.TrimSpace(c.Name + " " + c.Version) }

// Part of a text of each licence, in one line.
var licences = map[string]string{
	"Apache-2.0":          "Apache License Version 2.0",
	"BSD-2-Clause":        "Redistribution and use in source and binary forms",
	"BSD-3-Clause":        "Redistribution and use in source and binary forms",
	"ISC":                 "Permission to use, copy, modify, and",
	"MIT":                 "Permission is hereby granted, free of charge",
	"MIT-0":               "Permission is hereby granted, free of charge",
	"Unicode-3.0":         "UNICODE LICENSE V3",
	"Unlicense":           "This is free and unencumbered software",
	"Zlib":                "This software is provided 'as-is'",
	"WITH LLVM-exception": "LLVM Exceptions to the Apache 2.0 License",
}

func main() {
	if len(os.Args) != 2 {
		die("usage: check FOLDER")
	}
	content, err := os.ReadFile(filepath.Join(os.Args[1], "sbom.cdx.json"))
	must(err)
	var sbom bill
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	must(decoder.Decode(&sbom))
	checkForm(sbom)
	checkGraph(sbom)
	checkCrates(sbom, compiled())
	notices, err := os.ReadFile(filepath.Join(os.Args[1], "NOTICES"))
	must(err)
	checkNotices(sbom, string(notices))
	fmt.Printf("%d components, each with its licence\n", len(sbom.Components))
}

func checkForm(sbom bill) {
	if sbom.BomFormat != "CycloneDX" || sbom.SpecVersion != "1.5" || sbom.Version != 1 {
		die("it is %s %s, version %d", sbom.BomFormat, sbom.SpecVersion, sbom.Version)
	}
	wants(sbom.SerialNumber, `urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	_, err := time.Parse(time.RFC3339, sbom.Metadata.Timestamp)
	must(err)
	if sbom.Metadata.Component.Type != "application" {
		die("it is about a %s", sbom.Metadata.Component.Type)
	}
	for _, c := range append(sbom.Components, sbom.Metadata.Component) {
		wants(c.Name, `[A-Za-z0-9_-]+`)
		wants(c.BomRef, regexp.QuoteMeta(c.Purl))
		if len(c.Licenses) != 1 {
			die("%s has %d licences", c, len(c.Licenses))
		}
		if slices.Contains(beside, c.Name) {
			wants(c.Purl, `pkg:generic/[a-z-]+(@[0-9.]+)?`)
			continue
		}
		wants(c.Purl, regexp.QuoteMeta("pkg:cargo/"+c.Name+"@"+c.Version))
		if c.Type == "library" {
			if len(c.Hashes) != 1 || c.Hashes[0].Alg != "SHA-256" {
				die("%s has the hashes %v", c, c.Hashes)
			}
			wants(c.Hashes[0].Content, `[0-9a-f]{64}`)
		}
	}
}

// Every component is there once, and needed by the program or by what it needs.
func checkGraph(sbom bill) {
	needs, reached := map[string][]string{}, map[string]bool{}
	for _, d := range sbom.Dependencies {
		needs[d.Ref] = d.DependsOn
	}
	var visit func(ref string)
	visit = func(ref string) {
		if _, known := needs[ref]; !known {
			die("nothing is said of what %s needs", ref)
		}
		if !reached[ref] {
			reached[ref] = true
			for _, next := range needs[ref] {
				visit(next)
			}
		}
	}
	visit(sbom.Metadata.Component.BomRef)
	seen := map[string]bool{}
	for _, c := range sbom.Components {
		if seen[c.BomRef] || !reached[c.BomRef] {
			die("%s is there twice, or nobody needs it", c)
		}
		seen[c.BomRef] = true
	}
	if len(reached) != len(seen)+1 || len(sbom.Dependencies) != len(reached) {
		die("%d components, but %d are needed, and %d are in the graph", len(seen)+1, len(reached), len(sbom.Dependencies))
	}
}

// The crates that cargo compiled for a target: NAME VERSION. What runs while compiling is compiled for this machine.
func compiled() []string {
	var found []string
	messages := bufio.NewScanner(os.Stdin)
	messages.Buffer(nil, 16<<20)
	for messages.Scan() {
		var message struct {
			Reason    string
			PackageID string `json:"package_id"`
			Target    struct{ Kind []string }
			Filenames []string
		}
		must(json.Unmarshal(messages.Bytes(), &message))
		isForTarget := func(file string) bool { return strings.Contains(file, "-unknown-linux-musl/release/") }
		if message.Reason == "compiler-artifact" && slices.Contains(message.Target.Kind, "lib") && slices.ContainsFunc(message.Filenames, isForTarget) {
			_, id, _ := strings.Cut(message.PackageID, "#")
			found = append(found, strings.Replace(id, "@", " ", 1))
		}
	}
	must(messages.Err())
	slices.Sort(found)
	return slices.Compact(found)
}

func checkCrates(sbom bill, compiled []string) {
	if len(compiled) == 0 {
		die("cargo compiled nothing, by its messages")
	}
	listed := []string{sbom.Metadata.Component.String()}
	for _, c := range sbom.Components {
		if slices.Contains(beside, c.Name) {
			continue
		}
		listed = append(listed, c.String())
	}
	slices.Sort(listed)
	for _, crate := range compiled {
		if !slices.Contains(listed, crate) {
			die("%s is compiled in, but not listed", crate)
		}
	}
	for _, crate := range listed {
		if !slices.Contains(compiled, crate) {
			die("%s is listed, but not compiled in", crate)
		}
	}
	if len(sbom.Components)-len(listed)+1 != len(beside) {
		die("std, musl and the unwinder are not all listed")
	}
}

// Each component has a line at the top, and the text of its licence, or of one that it may be used under.
func checkNotices(sbom bill, notices string) {
	blocks := strings.Split(notices, "\n"+strings.Repeat("=", 100)+"\n")
	texts := map[string]string{} // by component, in one line each
	for _, block := range blocks[1:] {
		covered, words, _ := strings.Cut(block, "\n\n")
		for _, name := range strings.Split(strings.ReplaceAll(covered, ",\n", ", "), ", ") {
			texts[name] += " " + strings.Join(strings.Fields(words), " ")
		}
	}
	for _, c := range sbom.Components {
		expression := c.Licenses[0].Expression
		if !strings.Contains(blocks[0], fmt.Sprintf("\n  %s: %s\n", c, expression)) {
			die("NOTICES does not list %s under %s", c, expression)
		}
		for _, all := range strings.Split(expression, " AND ") {
			isThere := func(licence string) bool {
				name, exception, _ := strings.Cut(strings.Trim(licence, "()"), " WITH ")
				has := func(id string) bool { return licences[id] != "" && strings.Contains(texts[c.String()], licences[id]) }
				return has(name) && (exception == "" || has("WITH "+exception))
			}
			if !slices.ContainsFunc(strings.Split(all, " OR "), isThere) {
				die("NOTICES has no text of %s for %s", all, c)
			}
		}
	}
}

func wants(value, pattern string) {
	if !regexp.MustCompile("^(" + pattern + ")$").MatchString(value) {
		die("%q is not %s", value, pattern)
	}
}

func must(err error) {
	if err != nil {
		die("%v", err)
	}
}

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "release: "+format+"\n", args...)
	os.Exit(1)
}
