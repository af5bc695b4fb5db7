package docker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker"
)

// fakeEngine speaks as much of the engine's API as a runtime needs that runs no command. A test puts its faults in rule.
type fakeEngine struct {
	t    *testing.T
	host string

	mu         sync.Mutex
	containers map[string]*fakeContainer // by name
	volumes    map[string]map[string]string
	// ghosts are listed, whatever is asked for, and not there.
	ghosts  []container.Summary
	images  map[string]bool
	version string
	made    int
	// pull is what the engine says of a pull; pulled says whether the image is there then.
	pull   []string
	pulled bool
	// rule answers a request by itself and returns true, or lets it pass. It is called without the lock.
	rule func(w http.ResponseWriter, r *http.Request) bool
}

type fakeContainer struct {
	id      string
	status  container.ContainerState
	request container.CreateRequest
	archive []byte // what was last put into it
}

func newFakeEngine(t *testing.T) *fakeEngine {
	t.Helper()
	f := &fakeEngine{
		t: t, containers: make(map[string]*fakeContainer), volumes: make(map[string]map[string]string),
		images: map[string]bool{"tools:1": true}, version: "1.41",
	}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.host = "tcp://" + strings.TrimPrefix(server.URL, "http://")
	return f
}

func (f *fakeEngine) options(t *testing.T) docker.Options {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(program, []byte("the program"), 0o700))
	return docker.Options{Host: f.host, Inner: program}
}

func (f *fakeEngine) driver(t *testing.T) *docker.Driver {
	t.Helper()
	d, err := docker.New(f.options(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// limits are those of calls that are to be answered, also on a busy machine, and of those that never are.
const answeredMs, stuckMs = 120_000, 3_000

func (f *fakeEngine) request(fields map[string]any) drivers.AcquireRequest {
	f.t.Helper()
	all := map[string]any{"image": "tools:1", "timeoutMs": answeredMs}
	for name, value := range fields {
		all[name] = value
	}
	raw, err := json.Marshal(all)
	require.NoError(f.t, err)
	return driverstest.AcquireRequest(driverstest.Features{Config: raw})
}

// things counts what is there.
func (f *fakeEngine) things() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.containers) + len(f.volumes)
}

func (f *fakeEngine) container(runtimeID string) fakeContainer {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, c := range f.containers {
		if strings.HasPrefix(name, "tenure") && strings.HasSuffix(name, runtimeID) {
			return *c
		}
	}
	require.Fail(f.t, "no container")
	return fakeContainer{}
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"message":%q}`, message)
}

// lose ends a request without an answer.
func lose() { panic(http.ErrAbortHandler) }

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.rule != nil && f.rule(w, r) {
		return
	}
	f.answer(w, r)
}

// answer does what the request asks for.
func (f *fakeEngine) answer(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = path[strings.Index(path[1:], "/")+1:]
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	w.Header().Set("Api-Version", f.version)
	w.Header().Set("Ostype", "linux")
	say := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch {
	case path == "/_ping":
	case path == "/version":
		say(200, map[string]any{"Version": "20.10.fake", "ApiVersion": f.version})
	case path == "/info":
		say(200, map[string]any{"ID": "engine-1", "MemoryLimit": true, "CpuCfsQuota": true, "PidsLimit": true})
	case path == "/images/create":
		f.images["tools:1"] = f.images["tools:1"] || f.pulled
		for _, line := range f.pull {
			_, _ = fmt.Fprintln(w, line)
		}
	case parts[0] == "images" && parts[len(parts)-1] == "json":
		if name := strings.Join(parts[1:len(parts)-1], "/"); !f.images[name] {
			refuse(w, 404, "No such image: "+name)
			return
		}
		say(200, map[string]any{"Id": "sha256:1"})
	case path == "/containers/create":
		f.create(w, r, say)
	case path == "/containers/json":
		f.list(r, say)
	case parts[0] == "containers":
		f.one(w, r, parts, say)
	case path == "/volumes":
		var found []any
		for name, labels := range f.volumes {
			if matches(r, labels) {
				found = append(found, map[string]any{"Name": name, "Labels": labels})
			}
		}
		say(200, map[string]any{"Volumes": found})
	case path == "/volumes/create":
		var v struct {
			Name   string
			Labels map[string]string
		}
		_ = json.NewDecoder(r.Body).Decode(&v)
		f.volumes[v.Name] = v.Labels
		say(201, v)
	case parts[0] == "volumes" && r.Method == http.MethodDelete:
		delete(f.volumes, parts[1])
		w.WriteHeader(204)
	default:
		refuse(w, 404, "the fake knows nothing of "+path)
	}
}

func (f *fakeEngine) create(w http.ResponseWriter, r *http.Request, say func(int, any)) {
	name := r.URL.Query().Get("name")
	if _, taken := f.containers[name]; taken {
		refuse(w, 409, "Conflict. The container name is already in use")
		return
	}
	f.made++
	c := &fakeContainer{id: fmt.Sprintf("c%d", f.made), status: container.StateCreated}
	if err := json.NewDecoder(r.Body).Decode(&c.request); err != nil {
		refuse(w, 400, err.Error())
		return
	}
	if len(c.request.HostConfig.SecurityOpt) > 0 && strings.HasPrefix(c.request.HostConfig.SecurityOpt[0], "no-new-privileges:tenure") {
		refuse(w, 400, "invalid --security-opt")
		return
	}
	f.containers[name] = c
	for _, m := range c.request.HostConfig.Mounts {
		if m.VolumeOptions != nil {
			f.volumes[m.Source] = m.VolumeOptions.Labels
		}
	}
	say(201, map[string]any{"Id": c.id, "Warnings": []string{"the fake warns"}})
}

func (f *fakeEngine) list(r *http.Request, say func(int, any)) {
	found := slices.Clone(f.ghosts)
	for name, c := range f.containers {
		if matches(r, c.request.Labels) {
			found = append(found, container.Summary{ID: c.id, Names: []string{"/" + name}, Labels: c.request.Labels, State: c.status})
		}
	}
	say(200, found)
}

func matches(r *http.Request, labels map[string]string) bool {
	var filters map[string]map[string]bool
	_ = json.Unmarshal([]byte(r.URL.Query().Get("filters")), &filters)
	for want := range filters["label"] {
		name, value, hasValue := strings.Cut(want, "=")
		if got, ok := labels[name]; !ok || hasValue && got != value {
			return false
		}
	}
	return true
}

func (f *fakeEngine) one(w http.ResponseWriter, r *http.Request, parts []string, say func(int, any)) {
	var name string
	var c *fakeContainer
	for n, candidate := range f.containers {
		if n == parts[1] || candidate.id == parts[1] {
			name, c = n, candidate
		}
	}
	if c == nil {
		refuse(w, 404, "No such container: "+parts[1])
		return
	}
	verb := ""
	if len(parts) > 2 {
		verb = parts[2]
	}
	switch {
	case verb == "json":
		mounts := []any{}
		for _, m := range c.request.HostConfig.Mounts {
			mounts = append(mounts, map[string]any{"Type": m.Type, "Name": m.Source, "Destination": m.Target})
		}
		say(200, map[string]any{
			"Id": c.id, "Name": "/" + name, "Image": "sha256:1", "Config": c.request.Config, "HostConfig": c.request.HostConfig,
			"State": map[string]any{"Status": c.status, "Running": c.status == container.StateRunning}, "Mounts": mounts,
		})
	case verb == "archive" && r.Method == http.MethodPut:
		c.archive, _ = io.ReadAll(r.Body)
	case verb == "archive":
		refuse(w, 404, "Could not find the file")
	case verb == "rename":
		to := r.URL.Query().Get("name")
		if _, taken := f.containers[to]; taken {
			refuse(w, 409, "Conflict. The container name is already in use")
			return
		}
		delete(f.containers, name)
		f.containers[to] = c
		w.WriteHeader(204)
	case verb == "kill" && c.status != container.StateRunning:
		refuse(w, 409, "the container is not running")
	case verb == "kill":
		c.status = container.StateExited
		w.WriteHeader(204)
	case verb == "start":
		c.status = container.StateRunning
		w.WriteHeader(204)
	case verb == "" && r.Method == http.MethodDelete:
		delete(f.containers, name)
		w.WriteHeader(204)
	default:
		refuse(w, 404, "the fake knows nothing of "+r.URL.Path)
	}
}
