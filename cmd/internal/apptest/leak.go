package apptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// Planted is an engine with markers wherever a secret of a server may stand, and with ears on everything that it says.
type Planted struct {
	*Engine
	// Server are the markers in the engine's environment and configuration: nobody may see them. Argv stands in its
	// arguments, which this machine can see, so it is looked for in environments and in what is said only.
	Server []string
	Argv   string
	// OnlyFake is in the environment of the worker of the plugin fake, and nowhere else.
	OnlyFake string
	// Secret is the value of a secret in the variables of environments: commands have it, and nobody else.
	Secret string

	heard *recorder
	// inArguments are arguments of some process that showed a marker.
	inArguments *watch
}

// Plant starts an engine with markers.
func Plant(t *testing.T, opts ...Option) *Planted {
	t.Helper()
	mark := func(what string) string { return "MARK-" + what + "-" + uuid.NewString() }
	p := &Planted{Argv: mark("argv") + ".invalid", OnlyFake: mark("fake"), Secret: mark("secret"), heard: &recorder{}}
	keys, err := vault.NewKeyset()
	require.NoError(t, err)
	keyset, err := keys.Encode()
	require.NoError(t, err)
	value := regexp.MustCompile(`"value":\s*"([^"]+)"`).FindSubmatch(keyset)
	require.NotNil(t, value)
	database, aws, signing, config := mark("database"), mark("aws"), mark("signing"), mark("config")
	p.Server = []string{database, aws, signing, config, string(value[1])}
	file := filepath.Join(Dir(t), "config.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"company":"`+config+`"}`), 0o600))
	p.Engine = New(t, append(opts,
		WithEnv("DATABASE_URL=postgres://u:"+database+"@h/d", "AWS_SECRET_ACCESS_KEY="+aws, "TENURE_SIGNING_KEY="+signing,
			"TENURE_KEYSET="+string(keyset), "TENURE_CONFIG="+file, "ONLY_FAKE="+p.OnlyFake),
		WithArgs("--plugin-env", "tenure.fake=ONLY_FAKE", "--deny-runtime-url", p.Argv, "--log-level", "debug"))...)
	p.inArguments = watchArguments(t, append(slices.Clone(p.Server), p.OnlyFake, p.Secret))
	t.Cleanup(p.inArguments.stop)
	p.Start()
	p.heard.next = newPatient()
	p.Client, err = client.New(p.Client.BaseURL(), p.Key, client.WithHTTPClient(&http.Client{Transport: p.heard}))
	require.NoError(t, err)
	t.Cleanup(p.Client.CloseIdleConnections)
	return p
}

// Hold takes a lease of a kind whose environment has the secret among its variables, and looks around in it.
func (p *Planted) Hold(t *testing.T, k Kind) {
	t.Helper()
	here := *p
	here.Engine = p.In(t)
	p = &here
	company, err := p.Client.AddCompany(t.Context(), wire.AddCompany{Name: "acme"})
	require.NoError(t, err)
	name := "token-of-" + k.Provider
	secret, err := p.Client.AddSecret(t.Context(), company.ID, wire.AddSecret{Name: name, Value: p.Secret})
	require.NoError(t, err)
	add := k.Add(p.Engine)
	add.EnvVars = map[string]wire.EnvValue{"TOKEN": {SecretRef: &wire.SecretRef{SecretID: secret.ID}}, "PLAIN": {Plain: "plain"}}
	env, err := p.Client.AddEnvironment(t.Context(), company.ID, add)
	require.NoError(t, err)
	tenant := Tenant{Company: company, Environment: env}
	lease := p.Acquire(tenant, wire.AcquireLease{Env: map[string]string{"FROM_LEASE": "2"}}).Lease
	if k.NoShell {
		p.holdFake(t, lease.ID)
	} else {
		p.holdShell(t, k, lease.ID)
	}
	_, err = p.Client.ProbeEnvironment(t.Context(), env.ID, client.Wait(waitLong))
	require.NoError(t, err)

	// Without its secret neither a command nor a lease begins, and both say which secret it is.
	_, err = p.Client.DestroySecret(t.Context(), secret.ID)
	require.NoError(t, err)
	p.refusesWithoutSecret(t, lease.ID, name)
	_, err = p.Client.ReleaseLease(t.Context(), lease.ID, wire.Release{}, client.Wait(waitLong))
	require.NoError(t, err)
	_, _, err = p.Client.AcquireLease(t.Context(), company.ID, wire.AcquireLease{
		EnvironmentID: env.ID, HeartbeatRunID: uuid.NewString(),
	}, client.Wait(waitLong))
	require.Error(t, err)
	require.Contains(t, err.Error(), name)
	require.Empty(t, k.Left(), "it failed before there was anything")
}

func (p *Planted) holdFake(t *testing.T, lease uuid.UUID) {
	t.Helper()
	_, out, _ := p.Run(lease, wire.StartExec{Argv: []string{"env"}})
	require.Contains(t, string(out), "TOKEN="+p.Secret)
	require.Contains(t, string(out), "FROM_LEASE=2")
	p.requireNone(t, "the environment of a command", string(out), append(slices.Clone(p.Server), p.Argv, p.OnlyFake)...)
}

// holdShell looks at everything that a command sees of other processes, and passes the secret on the way that it should go.
func (p *Planted) holdShell(t *testing.T, k Kind, lease uuid.UUID) {
	t.Helper()
	sum := sha256.Sum256([]byte(p.Secret))
	x, out, errs := p.Run(lease, wire.StartExec{Argv: []string{"sh", "-c", `printf %s "$TOKEN" | sha256sum; sleep 2`}})
	require.Equal(t, 0, *x.Result.ExitCode, "%s", errs)
	require.Contains(t, string(out), hex.EncodeToString(sum[:]), "the value, and not the reference")

	x, out, errs = p.Run(lease, wire.StartExec{
		Argv: []string{"sh", "-c", `unset TOKEN; env; cat /proc/$PPID/environ /proc/$PPID/cmdline /proc/1/environ /proc/1/cmdline
			cat /proc/[0-9]*/environ; true`}, Env: map[string]string{"FROM_EXEC": "3"},
	})
	require.Equal(t, 0, *x.Result.ExitCode)
	for _, want := range []string{"PLAIN=plain\n", "FROM_LEASE=2\n", "FROM_EXEC=3\n"} {
		require.Contains(t, string(out), want)
	}
	p.requireNone(t, "what a command sees", string(out)+string(errs), append(slices.Clone(p.Server), p.Argv)...)

	x, _, _ = p.Run(lease, wire.StartExec{Argv: []string{"true"}, Cwd: "is/not/there"})
	require.NotEqual(t, wire.EndUnknown, x.Result.End)
	require.False(t, x.Result.ExitCode != nil && *x.Result.ExitCode == 0, "%s: a command ran in no directory", k.Provider)
}

func (p *Planted) refusesWithoutSecret(t *testing.T, lease uuid.UUID, name string) {
	t.Helper()
	x, err := p.Client.StartExec(t.Context(), lease, Fence(t, p.Client, lease), wire.StartExec{Argv: []string{"echo", "hi"}})
	if err != nil {
		require.Contains(t, err.Error(), name)
		return
	}
	x = p.Ended(x.ID)
	require.Equal(t, wire.EndStartFailed, x.Result.End)
	require.Contains(t, *x.Result.Message, name)
}

// Check looks for the markers everywhere, and ends the engine. Places are further directories where nothing may be.
func (p *Planted) Check(t *testing.T, places ...string) {
	t.Helper()
	p.checkWorkers(t)
	all := append(slices.Clone(p.Server), p.Argv, p.OnlyFake, p.Secret)
	events, err := json.Marshal(p.Events())
	require.NoError(t, err)
	p.requireNone(t, "events", string(events), all...)
	p.hearStream(t)
	p.inArguments.stop()
	require.Empty(t, p.inArguments.found(), "arguments of processes")
	require.Equal(t, 0, p.Stop())
	p.requireNone(t, "the engine's log", p.Log(), all...)
	// A command's output is its own to say: one of the provider fake said the secret, and one on a host where it is the
	// superuser said everything of the other processes.
	commandsOwn := []string{p.Secret, p.OnlyFake}
	p.requireNone(t, "answers of the API", p.heard.String(), append(slices.Clone(p.Server), p.Argv)...)
	p.requireNone(t, "answers of the API", p.heard.withoutOutputs(), commandsOwn...)
	for _, place := range append(places, p.DataDir) {
		p.nowhere(t, place, commandsOwn)
	}
}

// hearStream listens to all events as they are streamed.
func (p *Planted) hearStream(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLong)
	defer cancel()
	left := len(p.Events())
	for _, err := range p.Client.FollowEvents(ctx, 0) {
		require.NoError(t, err)
		if left--; left == 0 {
			return
		}
	}
	t.Fatal("the stream ended early")
}

// workerVariables are what the environment of a plugin's worker may have.
var workerVariables = regexp.MustCompile(`^(PATH|NODE_PATH|NODE_ENV|TZ|PAPERCLIP_(PLUGIN_ID|DEPLOYMENT_MODE|DEPLOYMENT_EXPOSURE)|TENURE_PLUGIN_\w+|TENURE_CGROUPS?\w*|DOCKER_HOST)$`)

// checkWorkers looks at the process of each plugin.
func (p *Planted) checkWorkers(t *testing.T) {
	t.Helper()
	plugins, err := p.Client.Plugins(t.Context())
	require.NoError(t, err)
	looked := 0
	for _, plugin := range plugins.Items {
		if plugin.Process == nil || plugin.Process.PID == 0 {
			continue
		}
		proc := "/proc/" + strconv.Itoa(plugin.Process.PID)
		environ, err := os.ReadFile(proc + "/environ")
		if err != nil && os.Geteuid() != 0 {
			continue // closed even to its own user
		}
		require.NoError(t, err)
		cmdline, err := os.ReadFile(proc + "/cmdline")
		require.NoError(t, err)
		p.requireNone(t, plugin.Key, string(environ)+string(cmdline), append(slices.Clone(p.Server), p.Argv, p.Secret)...)
		isFake := plugin.Key == "tenure.fake"
		require.Equal(t, isFake, strings.Contains(string(environ), "ONLY_FAKE="+p.OnlyFake), plugin.Key)
		for kv := range strings.SplitSeq(strings.TrimSuffix(string(environ), "\x00"), "\x00") {
			name, _, _ := strings.Cut(kv, "=")
			require.True(t, workerVariables.MatchString(name) || isFake && name == "ONLY_FAKE", "%s has the variable %q", plugin.Key, name)
		}
		looked++
	}
	t.Logf("looked at %d workers", looked)
	require.True(t, looked > 0 || os.Geteuid() != 0)
}

// requireNone does not print what it looked in.
func (p *Planted) requireNone(t *testing.T, where, text string, markers ...string) {
	t.Helper()
	for _, m := range markers {
		if strings.Contains(text, m) {
			t.Fatalf("%s: there is %s", where, m)
		}
	}
}

// nowhere looks into all files below a directory, kept outputs for the server's markers only.
func (p *Planted) nowhere(t *testing.T, dir string, commandsOwn []string) {
	t.Helper()
	looked := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		looked++
		markers := append(slices.Clone(p.Server), p.Argv)
		if !strings.Contains(path, "/journals/") {
			markers = append(markers, commandsOwn...)
		}
		for _, m := range markers {
			if bytes.Contains(content, []byte(m)) {
				t.Errorf("%s holds %s", path, m)
			}
		}
		return nil
	}))
	t.Logf("looked into %d files of %s", looked, dir)
}

// maxRecorded is about how much is kept of the answers of one path.
const maxRecorded = 4 << 20

// recorder keeps every answer.
type recorder struct {
	next http.RoundTripper
	mu   sync.Mutex
	all  map[string]*bytes.Buffer // by path
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]*bytes.Buffer{}
	}
	if r.all[q.URL.Path] == nil {
		r.all[q.URL.Path] = &bytes.Buffer{}
	}
	_ = resp.Header.Write(r.all[q.URL.Path])
	resp.Body = &recorded{ReadCloser: resp.Body, to: r, path: q.URL.Path}
	return resp, nil
}

type recorded struct {
	io.ReadCloser
	to   *recorder
	path string
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.to.mu.Lock()
	defer r.to.mu.Unlock()
	if kept := r.to.all[r.path]; kept.Len() < maxRecorded {
		kept.Write(p[:n])
	}
	return n, err
}

func (r *recorder) String() string { return r.text(func(string) bool { return true }) }

func (r *recorder) withoutOutputs() string {
	return r.text(func(path string) bool { return !strings.HasSuffix(path, "/output") })
}

// text is the answers, and whatever they hold in base64.
func (r *recorder) text(of func(path string) bool) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for path, text := range r.all {
		if !of(path) {
			continue
		}
		fmt.Fprintf(&b, "%s\n%s\n", path, text)
		for _, word := range regexp.MustCompile(`"[A-Za-z0-9+/]{16,}={0,2}"`).FindAll(text.Bytes(), -1) {
			if raw, err := base64.StdEncoding.DecodeString(strings.Trim(string(word), `"`)); err == nil {
				b.Write(append(raw, '\n'))
			}
		}
	}
	return b.String()
}

// watch samples the arguments of all processes.
type watch struct {
	cancel context.CancelFunc
	ended  chan struct{}
	// control is a marker that is meant to be seen.
	control string
	mu      sync.Mutex
	seen    []string
}

// watchArguments begins, and does not return until it has seen what it is to see.
func watchArguments(t *testing.T, markers []string) *watch {
	t.Helper()
	control := "MARK-control-" + uuid.NewString()
	shown := exec.CommandContext(t.Context(), "sh", "-c", "read line", control)
	stdin, err := shown.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, shown.Start())
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{cancel: cancel, ended: make(chan struct{}), control: control}
	defer func() {
		require.Eventually(t, w.sees, waitLong, 10*time.Millisecond, "the watch sees arguments")
		require.NoError(t, stdin.Close())
		_ = shown.Wait() // its read met the end of the input
	}()
	markers = append(markers, control)
	go func() {
		defer close(w.ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.look(markers)
			case <-ctx.Done():
				return
			}
		}
	}()
	return w
}

func (w *watch) look(markers []string) {
	for pid, args := range driverstest.Processes("cmdline") {
		for _, m := range markers {
			if bytes.Contains(args, []byte(m)) {
				w.mu.Lock()
				w.seen = append(w.seen, fmt.Sprintf("%d: %s", pid, args))
				w.mu.Unlock()
			}
		}
	}
}

func (w *watch) stop() { w.cancel(); <-w.ended }

// sees reports whether it has found what was put there for it.
func (w *watch) sees() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen) > 0
}

func (w *watch) found() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.seen), func(s string) bool { return strings.Contains(s, w.control) })
}
