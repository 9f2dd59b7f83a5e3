// Checks the OCI layout that build.sh wrote, from its bytes alone: digests, sizes, media types, the files in it, how it runs.
//
//	go run deploy/image/check.go dist/image [CPU=ROOT...]
//
// With CPU=ROOT it also unpacks that CPU's image into the folder ROOT.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	program = "inspur-cloud-controller-manager"
	limit   = 4 << 20 // bytes a CPU, as pulled and as unpacked
	index   = "application/vnd.oci.image.index.v1+json"
)

type descriptor struct {
	MediaType   string
	Digest      string
	Size        int
	Annotations map[string]string
	Platform    struct{ Architecture, OS string }
}

type document struct {
	SchemaVersion int
	MediaType     string
	Manifests     []descriptor
	Config        descriptor
	Layers        []descriptor
}

type config struct {
	Architecture, OS string
	Config           struct {
		User       string
		Entrypoint []string
	}
	Rootfs struct {
		DiffIDs []string `json:"diff_ids"`
	}
}

// What every image holds; folders aside.
var files = []string{
	"etc/ssl/certs/ca-certificates.crt",
	program,
	"usr/share/doc/" + program + "/NOTICES",
}

func main() {
	if len(os.Args) < 2 {
		die("usage: check LAYOUT [CPU=ROOT...]")
	}
	layout := os.Args[1]
	roots := map[string]string{}
	for _, arg := range os.Args[2:] {
		cpu, root, _ := strings.Cut(arg, "=")
		roots[cpu] = root
	}

	var top, all document
	decode(read(filepath.Join(layout, "index.json")), &top)
	if len(top.Manifests) != 1 || top.Manifests[0].MediaType != index {
		die("index.json names no single index: %+v", top.Manifests)
	}
	used := map[string]bool{}
	decode(blob(layout, top.Manifests[0], used), &all)

	var cpus []string
	for _, manifest := range all.Manifests {
		cpus = append(cpus, manifest.Platform.Architecture)
		checkImage(layout, manifest, used, roots[manifest.Platform.Architecture])
	}
	if !slices.Equal(cpus, []string{"amd64", "arm64"}) {
		die("the index is for %v", cpus)
	}
	blobs, err := os.ReadDir(filepath.Join(layout, "blobs", "sha256"))
	must(err)
	if len(blobs) != len(used) {
		die("%d blobs, but %d are used", len(blobs), len(used))
	}
	fmt.Printf("%s: %s, %s\n", layout, top.Manifests[0].Annotations["org.opencontainers.image.ref.name"], top.Manifests[0].Digest)
}

func checkImage(layout string, from descriptor, used map[string]bool, root string) {
	cpu := from.Platform.Architecture
	var manifest document
	var image config
	decode(blob(layout, from, used), &manifest)
	decode(blob(layout, manifest.Config, used), &image)
	if image.Architecture != cpu || image.OS != "linux" || from.Platform.OS != "linux" {
		die("%s: the config is for %s/%s", cpu, image.OS, image.Architecture)
	}
	if image.Config.User != "65532:65532" || !slices.Equal(image.Config.Entrypoint, []string{"/" + program}) {
		die("%s: it runs %v as %q", cpu, image.Config.Entrypoint, image.Config.User)
	}
	if len(manifest.Layers) != len(image.Rootfs.DiffIDs) {
		die("%s: %d layers, %d diff ids", cpu, len(manifest.Layers), len(image.Rootfs.DiffIDs))
	}

	pulled, unpacked := from.Size+manifest.Config.Size, 0
	var found []string
	for i, layer := range manifest.Layers {
		pulled += layer.Size
		packed, err := gzip.NewReader(bytes.NewReader(blob(layout, layer, used)))
		must(err)
		plain, err := io.ReadAll(packed)
		must(err)
		if got := digest(plain); got != image.Rootfs.DiffIDs[i] {
			die("%s: layer %d unpacks to %s, not %s", cpu, i, got, image.Rootfs.DiffIDs[i])
		}
		for name, bytes := range unpack(plain, root) {
			found = append(found, name)
			unpacked += len(bytes)
			checkFile(cpu, name, bytes)
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, files) {
		die("%s: it holds %v", cpu, found)
	}
	if pulled > limit || unpacked > limit {
		die("%s: %d bytes to pull, %d unpacked; at most %d", cpu, pulled, unpacked, limit)
	}
	fmt.Printf("%s: %d bytes to pull, %d unpacked\n", cpu, pulled, unpacked)
}

func checkFile(cpu, name string, content []byte) {
	switch {
	case name == program:
		binary, err := elf.NewFile(bytes.NewReader(content))
		must(err)
		if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[cpu]; binary.Machine != want {
			die("%s: the binary is for %s", cpu, binary.Machine)
		}
	case strings.HasSuffix(name, ".crt"):
		if block, _ := pem.Decode(content); block == nil {
			die("%s: no certificate in %s", cpu, name)
		}
	}
}

// The files of a layer. Everything in it belongs to root, and only root may write it.
func unpack(layer []byte, root string) map[string][]byte {
	found := map[string][]byte{}
	for entries := tar.NewReader(bytes.NewReader(layer)); ; {
		header, err := entries.Next()
		if err == io.EOF {
			return found
		}
		must(err)
		name := filepath.Clean(header.Name)
		if header.Uid != 0 || header.Gid != 0 || header.Mode&0o7022 != 0 || !filepath.IsLocal(name) {
			die("%s: mode %o, owner %d:%d", name, header.Mode, header.Uid, header.Gid)
		}
		switch header.Typeflag {
		case tar.TypeDir:
			if root != "" {
				must(os.MkdirAll(filepath.Join(root, name), 0o755))
			}
		case tar.TypeReg:
			content, err := io.ReadAll(entries)
			must(err)
			found[name] = content
			if root != "" {
				must(os.WriteFile(filepath.Join(root, name), content, os.FileMode(header.Mode)))
			}
		default:
			die("%s: neither file nor folder", name)
		}
	}
}

func blob(layout string, from descriptor, used map[string]bool) []byte {
	content := read(filepath.Join(layout, "blobs", strings.Replace(from.Digest, ":", "/", 1)))
	if got := digest(content); got != from.Digest || len(content) != from.Size {
		die("%s: %d bytes with digest %s, not %d", from.Digest, len(content), got, from.Size)
	}
	used[from.Digest] = true
	return content
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func read(path string) []byte {
	content, err := os.ReadFile(path)
	must(err)
	return content
}

func decode(content []byte, into any) { must(json.Unmarshal(content, into)) }

func must(err error) {
	if err != nil {
		die("%v", err)
	}
}

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "image: "+format+"\n", args...)
	os.Exit(1)
}
