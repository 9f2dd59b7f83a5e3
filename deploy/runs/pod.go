// Lays out what a Pod's container finds in its volumes, as kubelet does, and prints how it is started and looked at.
//
//	kubectl … -o json | go run deploy/runs/pod.go ROOT
//
// Of the objects on standard input it takes the one workload with its one container; what the volumes are made of must be among them,
// too. A line each: `user UID:GID`, `env NAME=VALUE`, `arg ARGUMENT`, `probe URL`.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct{ Template struct{ Spec pod } }
}

type pod struct {
	ServiceAccountName string
	SecurityContext    struct{ RunAsUser, RunAsGroup, FsGroup int }
	Containers         []container
	Volumes            []struct {
		Name      string
		Projected struct {
			DefaultMode uint32
			Sources     []struct{ ConfigMap, Secret *struct{ Name string } }
		}
	}
}

type container struct {
	Command, Args                 []string
	Env                           []struct{ Name, Value string }
	Ports                         []port
	VolumeMounts                  []struct{ Name, MountPath string }
	LivenessProbe, ReadinessProbe struct{ HTTPGet httpGet }
}

type port struct {
	Name          string
	ContainerPort int
}

type httpGet struct{ Scheme, Path, Port string }

func main() {
	if len(os.Args) != 2 {
		fail("usage: pod ROOT")
	}
	objects := map[string]object{}
	var workloads []pod
	for decoder := json.NewDecoder(os.Stdin); ; {
		var next object
		if err := decoder.Decode(&next); err == io.EOF {
			break
		} else if err != nil {
			fail("%v", err)
		}
		objects[next.Kind+" "+next.Metadata.Name] = next
		if next.Kind == "Deployment" || next.Kind == "DaemonSet" {
			workloads = append(workloads, next.Spec.Template.Spec)
		}
	}
	if len(workloads) != 1 || len(workloads[0].Containers) != 1 || workloads[0].Containers[0].Command != nil {
		fail("not one workload with one container that runs its image's program")
	}
	pod, container := workloads[0], workloads[0].Containers[0]
	if _, known := objects["ServiceAccount "+pod.ServiceAccountName]; !known {
		fail("there is no service account %s", pod.ServiceAccountName)
	}
	for _, mount := range container.VolumeMounts {
		lay(filepath.Join(os.Args[1], mount.MountPath), mount.Name, pod, objects)
	}

	fmt.Printf("user %d:%d\n", pod.SecurityContext.RunAsUser, pod.SecurityContext.RunAsGroup)
	for _, variable := range container.Env {
		fmt.Printf("env %s=%s\n", variable.Name, variable.Value)
	}
	for _, arg := range container.Args {
		fmt.Printf("arg %s\n", arg)
	}
	for _, get := range []httpGet{container.ReadinessProbe.HTTPGet, container.LivenessProbe.HTTPGet} {
		at := slices.IndexFunc(container.Ports, func(port port) bool { return port.Name == get.Port })
		if at < 0 {
			fail("no port is called %q", get.Port)
		}
		fmt.Printf("probe %s://127.0.0.1:%d%s\n", strings.ToLower(get.Scheme), container.Ports[at].ContainerPort, get.Path)
	}
}

// A projected volume: its files lie in a folder that ..data leads to, links lead to them from where they are looked for, and the
// group that the Pod says may read them.
func lay(at, volume string, pod pod, objects map[string]object) {
	must(os.MkdirAll(filepath.Join(at, "..first"), 0o755))
	must(os.Symlink("..first", filepath.Join(at, "..data")))
	for _, candidate := range pod.Volumes {
		if candidate.Name != volume {
			continue
		}
		for _, source := range candidate.Projected.Sources {
			for file, content := range contents(source.ConfigMap, source.Secret, objects) {
				path := filepath.Join(at, "..first", file)
				must(os.WriteFile(path, content, os.FileMode(candidate.Projected.DefaultMode)))
				must(os.Chown(path, 0, pod.SecurityContext.FsGroup))
				must(os.Chmod(path, os.FileMode(candidate.Projected.DefaultMode)))
				must(os.Symlink(filepath.Join("..data", file), filepath.Join(at, file)))
			}
		}
	}
}

func contents(configMap, secret *struct{ Name string }, objects map[string]object) map[string][]byte {
	found := map[string][]byte{}
	switch {
	case configMap != nil:
		from, known := objects["ConfigMap "+configMap.Name]
		if !known {
			fail("there is no ConfigMap %s", configMap.Name)
		}
		for file, content := range from.Data {
			found[file] = []byte(content)
		}
	case secret != nil:
		from, known := objects["Secret "+secret.Name]
		if !known {
			fail("there is no Secret %s", secret.Name)
		}
		for file, content := range from.Data {
			var decoded []byte // base64, as JSON has bytes
			must(json.Unmarshal([]byte(`"`+content+`"`), &decoded))
			found[file] = decoded
		}
	default:
		fail("a volume is made of something else than ConfigMaps and Secrets")
	}
	return found
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "pod: "+format+"\n", args...)
	os.Exit(1)
}
