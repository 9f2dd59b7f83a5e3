// Says what is inside the static binaries: the crates that are linked in, Rust's std, musl and LLVM's unwinder.
//
//	go run deploy/release/inside.go FOLDER          (from the root of the repository)
//
// FOLDER/NOTICES has every licence text once, with those whom it covers; FOLDER/sbom.cdx.json is a CycloneDX 1.5 bill of
// materials. Both depend on Cargo.lock, the toolchain and SOURCE_DATE_EPOCH alone.
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var targets = []string{"x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"}

type dependency struct {
	Pkg   string
	Kinds []struct{ Kind *string } `json:"dep_kinds"`
}

type metadata struct {
	Packages []struct {
		ID, Name, Version, License, Description, Repository string
		Manifest                                            string `json:"manifest_path"`
		Source                                              *string
	}
	Resolve struct {
		Root  string
		Nodes []struct {
			ID   string
			Deps []dependency
		}
	}
}

// Something that is linked into the binary.
type part struct {
	name, version, license, purl, checksum string
	needs                                  []string // purls
	texts                                  []text
}

type text struct{ file, words string }

func main() {
	if len(os.Args) != 2 {
		die("usage: inside FOLDER")
	}
	root, parts := crates()
	parts = append(parts, std(), musl(), unwinder())
	must(os.WriteFile(filepath.Join(os.Args[1], "NOTICES"), notices(root, parts), 0o644))
	must(os.WriteFile(filepath.Join(os.Args[1], "sbom.cdx.json"), billOfMaterials(root, parts), 0o644))
}

// This project, and the crates that it and they need to run; not those for tests, builds or macros alone.
func crates() (part, []part) {
	args := []string{"metadata", "--format-version=1", "--locked"}
	for _, target := range targets {
		args = append(args, "--filter-platform="+target)
	}
	var all metadata
	must(json.Unmarshal(run(cmp.Or(os.Getenv("CARGO"), "cargo"), args...), &all))
	checksums, linked := checksums(), linked()
	deps, known, folders := map[string][]string{}, map[string]part{}, map[string]string{}
	for _, p := range all.Packages {
		purl := "pkg:cargo/" + p.Name + "@" + p.Version
		known[p.ID] = part{name: p.Name, version: p.Version, license: strings.Join(regexp.MustCompile(` ?/ ?`).Split(p.License, -1), " OR "), purl: purl, checksum: checksums[p.Name+" "+p.Version]}
		folders[p.ID] = filepath.Dir(p.Manifest)
	}
	for _, node := range all.Resolve.Nodes {
		for _, dep := range node.Deps {
			normal := slices.ContainsFunc(dep.Kinds, func(k struct{ Kind *string }) bool { return k.Kind == nil })
			if normal && linked[known[dep.Pkg].purl] {
				deps[node.ID] = append(deps[node.ID], dep.Pkg)
			}
		}
	}
	var parts []part
	seen := map[string]bool{}
	var visit func(id string) part
	visit = func(id string) part {
		seen[id] = true
		this := known[id]
		for _, dep := range deps[id] {
			this.needs = append(this.needs, known[dep].purl)
			if !seen[dep] {
				found := visit(dep)
				found.texts = licenses(folders[dep], found.name)
				parts = append(parts, found)
			}
		}
		slices.Sort(this.needs)
		return this
	}
	root := visit(all.Resolve.Root)
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.purl, b.purl) })
	return root, parts
}

// The purls of what `cargo tree` finds, since `cargo metadata` counts features, too, that only tests switch on.
func linked() map[string]bool {
	found := map[string]bool{}
	for _, target := range targets {
		tree := run(cmp.Or(os.Getenv("CARGO"), "cargo"), "tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}", "--target="+target)
		for line := range strings.Lines(string(tree)) {
			if words := strings.Fields(line); len(words) > 1 {
				found["pkg:cargo/"+words[0]+"@"+strings.TrimPrefix(words[1], "v")] = true
			}
		}
	}
	return found
}

func checksums() map[string]string {
	content, err := os.ReadFile("Cargo.lock")
	must(err)
	found := map[string]string{}
	entry := regexp.MustCompile(`(?m)^name = "(.*)"\nversion = "(.*)"\n(?:source = .*\nchecksum = "(.*)"\n)?`)
	for _, m := range entry.FindAllStringSubmatch(string(content), -1) {
		found[m[1]+" "+m[2]] = m[3]
	}
	return found
}

// The texts in a crate's folder, and one level below: ring keeps some there, saphyr-parser all of them, in a folder for them. A crate
// without any would be shipped without its notice, so that is an error.
func licenses(folder, name string) []text {
	wanted := regexp.MustCompile(`(?i)/(un)?(licen[cs]e|copying|copyright|notice)[^/]*$|/\.?licen[cs]es/`)
	var found []text
	for _, pattern := range []string{"*", "*/*", "third_party/*/*"} {
		paths, err := filepath.Glob(filepath.Join(folder, pattern))
		must(err)
		for _, path := range paths {
			info, err := os.Stat(path)
			must(err)
			if !info.Mode().IsRegular() || !wanted.MatchString(path[len(folder):]) || strings.HasSuffix(path, ".rs") {
				continue
			}
			content, err := os.ReadFile(path)
			must(err)
			relative, err := filepath.Rel(folder, path)
			must(err)
			found = append(found, text{relative, tidy(string(content))})
		}
	}
	if len(found) == 0 {
		die("%s has no licence text", name)
	}
	return found
}

// Rust's std and what it links, by the page that comes with the compiler.
func std() part {
	version := strings.Fields(string(run("rustc", "--version")))[1]
	page, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(run("rustc", "--print", "sysroot"))), "share/doc/rust/COPYRIGHT-library.html"))
	must(err)
	std := part{name: "rust-std", version: version, license: "MIT OR Apache-2.0", purl: "pkg:generic/rust-std@" + version}
	block := regexp.MustCompile(`(?s)<summary><code>(.*?)</code></summary>\s*<pre>(.*?)</pre>`)
	for _, m := range block.FindAllStringSubmatch(string(page), -1) {
		std.texts = append(std.texts, text{m[1], tidy(html.UnescapeString(m[2]))})
	}
	rest := block.ReplaceAllString(string(page), "see the text of $1")
	rest = html.UnescapeString(regexp.MustCompile(`(?s)<title>.*?</title>|<[^>]*>`).ReplaceAllString(rest, ""))
	rest = regexp.MustCompile(`[ \t]*\n\s*`).ReplaceAllString(strings.ReplaceAll(rest, "📦 ", "\n"), "\n")
	std.texts = append([]text{{"COPYRIGHT-library", tidy(rest)}}, std.texts...)
	return std
}

// What is linked beside the crates; its text is kept in the repository.
func beside(name, license, purl string) part {
	content, err := os.ReadFile("deploy/release/notices/" + name)
	must(err)
	return part{name: name, license: license, purl: purl, texts: []text{{"copyright", tidy(string(content))}}}
}

// The musl that deploy/static.sh links: the toolchain's, or that of the folder which deploy/musl-std.sh made. It says its version itself.
func musl() part {
	musl := beside("musl", "MIT", "pkg:generic/musl")
	cache := cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache"))
	side := cmp.Or(os.Getenv("MUSL_STD"), filepath.Join(cache, "cloud-provider-inspur/musl-std"))
	for _, folder := range []string{
		strings.TrimSpace(string(run("rustc", "--print", "target-libdir", "--target", targets[0]))),
		filepath.Join(side, "lib/rustlib", targets[0], "lib"),
	} {
		library, err := os.ReadFile(filepath.Join(folder, "self-contained/libc.a"))
		if err != nil {
			continue
		}
		version := regexp.MustCompile(`\x00(1\.\d+\.\d+)\x00`).FindSubmatch(library)
		if version == nil {
			die("%s/self-contained/libc.a does not say which musl it is", folder)
		}
		musl.version = string(version[1])
		musl.purl += "@" + musl.version
		return musl
	}
	die("there is no musl yet: make static")
	return musl
}

// Its copyright refers to a file of Debian's for the Apache License: here it is our own text of that.
func unwinder() part {
	unwinder := beside("libunwind", "Apache-2.0 WITH LLVM-exception", "pkg:generic/llvm-libunwind")
	content, err := os.ReadFile("LICENSE")
	must(err)
	unwinder.texts = append(unwinder.texts, text{"LICENSE", tidy(string(content))})
	return unwinder
}

// One spelling of white space at the ends of lines, so that equal texts are seen to be equal.
func tidy(words string) string {
	lines := strings.Split(strings.ReplaceAll(words, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n") + "\n"
}

func notices(root part, parts []part) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s is licensed under %s. Its static binaries contain:\n\n", root.name, root.version, root.license)
	var order []string
	covered := map[string][]string{}
	for _, p := range parts {
		name := strings.TrimSpace(p.name + " " + p.version)
		fmt.Fprintf(&out, "  %s: %s\n", name, p.license)
		for _, t := range p.texts {
			// Texts that differ in their line breaks alone say the same.
			key := strings.Join(strings.Fields(t.words), " ")
			if covered[key] == nil {
				order = append(order, t.words)
			}
			if !slices.Contains(covered[key], name) {
				covered[key] = append(covered[key], name)
			}
		}
	}
	for _, words := range order {
		fmt.Fprintf(&out, "\n%s\n%s\n\n%s", strings.Repeat("=", 100), wrap(strings.Join(covered[strings.Join(strings.Fields(words), " ")], ", ")), words)
	}
	return out.Bytes()
}

func wrap(words string) string {
	lines := []string{""}
	for _, word := range strings.SplitAfter(words, ", ") {
		if last := lines[len(lines)-1]; last != "" && len(last)+len(word) > 100 {
			lines = append(lines, "")
		}
		lines[len(lines)-1] += word
	}
	return strings.TrimSpace(tidy(strings.Join(lines, "\n")))
}

type object = map[string]any

func billOfMaterials(root part, parts []part) []byte {
	var components, graph []object
	for _, p := range parts {
		component := object{"type": "library", "bom-ref": p.purl, "name": p.name, "purl": p.purl, "licenses": []object{{"expression": p.license}}}
		if p.version != "" {
			component["version"] = p.version
		}
		if p.checksum != "" {
			component["hashes"] = []object{{"alg": "SHA-256", "content": p.checksum}}
		}
		components = append(components, component)
		graph = append(graph, object{"ref": p.purl, "dependsOn": orEmpty(p.needs)})
		if !strings.HasPrefix(p.purl, "pkg:cargo/") {
			root.needs = append(root.needs, p.purl)
		}
	}
	graph = append([]object{{"ref": root.purl, "dependsOn": root.needs}}, graph...)
	epoch, _ := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	bom := object{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"metadata": object{
			"timestamp": time.Unix(epoch, 0).UTC().Format(time.RFC3339),
			"component": object{"type": "application", "bom-ref": root.purl, "name": root.name, "version": root.version, "purl": root.purl, "licenses": []object{{"expression": root.license}}},
		},
		"components": components, "dependencies": graph,
	}
	content, err := json.Marshal(bom)
	must(err)
	bom["serialNumber"] = serial(content)
	content, err = json.MarshalIndent(bom, "", "  ")
	must(err)
	return append(content, '\n')
}

// A UUID of version 8, made from what it names.
func serial(content []byte) string {
	sum := sha256.Sum256(content)
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	id := hex.EncodeToString(sum[:16])
	return "urn:uuid:" + id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func run(name string, args ...string) []byte {
	command := exec.Command(name, args...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		die("%s: %v", name, err)
	}
	return out
}

func must(err error) {
	if err != nil {
		die("%v", err)
	}
}

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "inside: "+format+"\n", args...)
	os.Exit(1)
}
