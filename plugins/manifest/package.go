package manifest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/internal/spawn"
)

// Credential is whom a process of a plugin runs as.
type Credential = spawn.Credential

// Package is a plugin in a directory: as npm installs it, or a file manifest.json and a program.
type Package struct {
	// Name and Version are those of package.json, if there is one.
	Name, Version string
	Manifest      Manifest
	// Worker is the absolute path of the module or the program that runs as the worker.
	Worker string
}

// ReadOptions say how a manifest that is a module is evaluated. The zero value is complete.
type ReadOptions struct {
	// Node is the path of node; "" looks it up.
	Node string
	// As is who evaluates it; an engine that is root names somebody else.
	As *Credential
	// Timeout bounds that; 0 is 15 s.
	Timeout time.Duration
}

const (
	maxPackageJSON = 1 << 20
	maxManifest    = 4 << 20

	packageFile  = "package.json"
	manifestFile = "manifest.json"
)

// ReadPackage reads the plugin in dir. A manifest that is a module of JavaScript is evaluated: once, by a process that
// gets no environment but PATH, and what that starts ends with it. The error is a [*drivers.Failure] with outcome definite, or retryable if the evaluation
// was cut short.
func ReadPackage(ctx context.Context, dir string, opts ReadOptions) (Package, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Package{}, unreadable("package.json", err, "name a directory")
	}
	meta, err := readPackageJSON(dir)
	if err != nil {
		return Package{}, err
	}
	path, err := meta.manifestPath(dir)
	if err != nil {
		return Package{}, err
	}
	raw, err := readManifest(ctx, path, opts)
	if err != nil {
		return Package{}, err
	}
	m, err := Parse(raw)
	if err != nil {
		invalid, _ := errors.AsType[*Error](err)
		return Package{}, unreadable("manifest", err, invalid.Problems[0].Remediation)
	}
	worker, err := inside(dir, m.Worker)
	if err != nil {
		return Package{}, unreadable("worker", fmt.Errorf("entrypoints.worker %q: %w", m.Worker, err), "build the plugin, and name a file within its package")
	}
	if info, err := os.Stat(worker); err == nil && !m.ForNode() && info.Mode()&0o111 == 0 {
		return Package{}, unreadable("worker", fmt.Errorf("entrypoints.worker %q is no program", m.Worker), "build it, and make it executable")
	}
	return Package{Name: meta.Name, Version: meta.Version, Manifest: m, Worker: worker}, nil
}

// Command is how the worker of a plugin is started whose package lies in dir. node runs a module of JavaScript; "" is node on
// PATH.
func (m Manifest) Command(dir, node string) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	worker, err := inside(dir, m.Worker)
	if err != nil {
		return nil, fmt.Errorf("entrypoints.worker %q: %w", m.Worker, err)
	}
	if m.ForNode() {
		return []string{cmp.Or(node, "node"), worker}, nil
	}
	return []string{worker}, nil
}

// ForNode reports whether the worker is a module that Node runs, and not a program.
func (m Manifest) ForNode() bool {
	return slices.Contains([]string{".js", ".mjs", ".cjs"}, filepath.Ext(m.Worker))
}

func unreadable(step string, err error, remediation string) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "plugin_package_invalid", Step: step, Err: err, Remediation: remediation,
	}
}

type packageJSON struct {
	Name            string `json:"name"`
	Version         string `json:"version"`
	PaperclipPlugin *struct {
		Manifest string `json:"manifest"`
		Worker   string `json:"worker"`
	} `json:"paperclipPlugin"`
	// places are where its manifest may be.
	places []string
}

// packageName is what Paperclip installs, and the same with this engine's name.
var packageName = regexp.MustCompile(`^(?:paperclip-plugin-|tenure-plugin-|@[a-z0-9][a-z0-9._-]*/plugin-)[a-z0-9._-]+$`)

func readPackageJSON(dir string) (packageJSON, error) {
	const step = packageFile
	var meta packageJSON
	raw, err := readFile(filepath.Join(dir, step), maxPackageJSON)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(filepath.Join(dir, manifestFile)); err == nil {
			meta.places = []string{manifestFile}
			return meta, nil
		}
		return meta, unreadable(step, fmt.Errorf("there is neither %s nor %s in %s", packageFile, manifestFile, dir), "name the directory that holds one of them")
	}
	if err != nil {
		return meta, unreadable(step, err, "let the engine read the plugin's files")
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		p := decodeProblem("", err)
		return meta, unreadable(step, errors.New(strings.TrimSpace(p.Field+" "+p.Problem)), "mend package.json")
	}
	if !packageName.MatchString(meta.Name) {
		return meta, unreadable(step, fmt.Errorf("%q is no name of a plugin", clip(meta.Name)),
			"call the package paperclip-plugin-…, tenure-plugin-… or @scope/plugin-…")
	}
	meta.places = []string{"dist/manifest.js", "manifest.js"}
	if meta.PaperclipPlugin != nil && meta.PaperclipPlugin.Manifest != "" {
		meta.places = []string{meta.PaperclipPlugin.Manifest}
	}
	return meta, nil
}

// readFile reads a regular file that is not larger than limit.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no regular file", path), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, err
}

// manifestPath is the first of the places that is there.
func (meta packageJSON) manifestPath(dir string) (string, error) {
	for _, place := range meta.places {
		path, err := inside(dir, place)
		switch {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", unreadable("manifest", fmt.Errorf("%q: %w", clip(place), err), "name a file within the package")
		}
	}
	return "", unreadable("manifest", fmt.Errorf("none of %s exists", strings.Join(meta.places, ", ")),
		"build the plugin, and name its manifest in package.json under paperclipPlugin.manifest")
}

// inside returns the absolute path of a file that really is within dir, wherever links lead.
func inside(dir, name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", errors.New("it leads out of the package")
	}
	path := filepath.Join(dir, name)
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(rel) {
		return "", errors.New("it leads out of the package")
	}
	if info, err := os.Stat(real); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(errors.New("it is no regular file"), err)
	}
	return path, nil
}

// evaluate prints the default export of a module after a mark, since the module itself may print.
const evaluate = `const [, url, mark] = process.argv
const m = await import(url)
const text = JSON.stringify(m.default ?? m.manifest)
process.stdout.write("\n" + mark + (text ?? "") + "\n", () => process.exit(0))`

func readManifest(ctx context.Context, path string, opts ReadOptions) ([]byte, error) {
	if filepath.Ext(path) == ".json" {
		raw, err := readFile(path, maxManifest)
		if err != nil {
			return nil, unreadable("manifest", err, "build the plugin")
		}
		return raw, nil
	}
	node := opts.Node
	if node == "" {
		found, err := exec.LookPath("node")
		if err != nil {
			return nil, unreadable("node", errors.New("node is not installed"), "install Node.js 24, or name it in the engine's configuration")
		}
		node = found
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 15 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, opts.Timeout, fmt.Errorf("it took longer than %s", opts.Timeout))
	defer cancel()

	mark := rand.Text() + ":"
	module := (&url.URL{Scheme: "file", Path: path}).String()
	cmd := exec.Command(node, "--input-type=module", "--eval", evaluate, "--", module, mark) //nolint:noctx // the whole group is ended below
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	stdout, stderr := &limited{limit: maxManifest}, &limited{limit: 64 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = time.Second
	if err := spawn.Start(cmd, opts.As); err != nil {
		return nil, unreadable("node", err, "check the path of node and that the workers' user may run it")
	}
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = spawn.Wait(cmd)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it has not been waited for, so the pid is its own
		<-ended
		return nil, &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "plugin_manifest_timeout", Step: "manifest",
			Err: fmt.Errorf("evaluate %s: %w", path, context.Cause(ctx)), Remediation: "let the module of the manifest only export it",
		}
	}
	return cutManifest(path, mark, stdout, stderr, err)
}

// cutManifest finds the manifest in what node printed.
func cutManifest(path, mark string, stdout, stderr *limited, ended error) ([]byte, error) {
	const remediation = "let the module have the manifest as its default export"
	if stdout.over {
		return nil, unreadable("manifest", fmt.Errorf("%s prints more than %d bytes", path, stdout.limit), remediation)
	}
	_, raw, found := bytes.Cut(stdout.buf.Bytes(), []byte("\n"+mark))
	if ended != nil || !found {
		return nil, unreadable("manifest", fmt.Errorf("evaluate %s: %w: %s", path, errors.Join(errors.New("node failed"), ended), clipTail(stderr.buf.String())), remediation)
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, unreadable("manifest", fmt.Errorf("%s has no default export", path), remediation)
	}
	return raw, nil
}

func clipTail(s string) string {
	s = oneLine(s)
	if len(s) > 1000 {
		return strings.ToValidUTF8(s[:1000], "") + "…"
	}
	return s
}

// limited keeps the beginning of what is written.
type limited struct {
	buf   bytes.Buffer
	limit int
	over  bool
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.limit - l.buf.Len(); len(p) > room {
		l.buf.Write(p[:room])
		l.over = true
		return len(p), nil
	}
	return l.buf.Write(p)
}
