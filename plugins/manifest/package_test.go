package manifest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/manifest"
)

// install writes the files of a package and returns its directory.
func install(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

const (
	goodPackage = `{"name": "@acme/plugin-box", "version": "1.2.3", "type": "module",
		"paperclipPlugin": {"manifest": "./dist/manifest.js", "worker": "./dist/worker.js"}}`
	goodModule = "console.log('hello from the manifest')\nconst manifest = " + whole + "\nexport default manifest\nsetInterval(() => {}, 1000)\n"
)

func TestAPackageOfNpmIsRead(t *testing.T) {
	t.Parallel()
	dir := install(t, map[string]string{"package.json": goodPackage, "dist/manifest.js": goodModule, "dist/worker.js": "x"})
	p, err := manifest.ReadPackage(t.Context(), dir, manifest.ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, "@acme/plugin-box", p.Name)
	require.Equal(t, "1.2.3", p.Version)
	require.Equal(t, "acme.box", p.Manifest.ID)
	require.Equal(t, filepath.Join(dir, "dist/worker.js"), p.Worker)
	command, err := p.Manifest.Command(dir, "")
	require.NoError(t, err)
	require.Equal(t, []string{"node", p.Worker}, command)
	p.Manifest.Worker = "worker"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "worker"), []byte("x"), 0o755))
	command, err = p.Manifest.Command(dir, "/opt/node")
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "worker")}, command)
	_, err = p.Manifest.Command(t.TempDir(), "")
	require.ErrorContains(t, err, `entrypoints.worker "worker"`)
	require.JSONEq(t, whole, string(p.Manifest.Raw))
}

func TestTheManifestIsSoughtInTheUsualPlaces(t *testing.T) {
	t.Parallel()
	bare := `{"name": "paperclip-plugin-box", "type": "module"}`
	for _, place := range []string{"dist/manifest.js", "manifest.js"} {
		dir := install(t, map[string]string{"package.json": bare, place: goodModule, "dist/worker.js": "x"})
		_, err := manifest.ReadPackage(t.Context(), dir, manifest.ReadOptions{})
		require.NoError(t, err, place)
	}
	dir := install(t, map[string]string{
		"package.json":  `{"name": "tenure-plugin-box", "paperclipPlugin": {"manifest": "manifest.json"}}`,
		"manifest.json": whole, "dist/worker.js": "x",
	})
	_, err := manifest.ReadPackage(t.Context(), dir, manifest.ReadOptions{Node: "/no/node"})
	require.NoError(t, err, "a manifest that is JSON needs no node")
}

func TestTheManifestIsEvaluatedWithNothingOfTheEngine(t *testing.T) {
	t.Setenv("TENURE_TEST_SECRET", "m4rker")
	module := `import {readFileSync} from "node:fs"
const env = JSON.stringify(process.env) + readFileSync("/proc/self/environ", "utf8") + Object.keys(process.env).join()
const manifest = ` + whole + `
manifest.author = env.includes("m4rker") ? "leak" : Object.keys(process.env).join() + " " + process.cwd()
export default manifest`
	dir := install(t, map[string]string{"package.json": goodPackage, "dist/manifest.js": module, "dist/worker.js": "x"})
	p, err := manifest.ReadPackage(t.Context(), dir, manifest.ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, "PATH /", p.Manifest.Author)
}

func TestAFaultyPackageSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files map[string]string
		opts  manifest.ReadOptions
		step  string
		says  string
	}{
		"nothing there":       {files: nil, step: "package.json", says: "neither package.json nor manifest.json"},
		"no program":          {files: map[string]string{"manifest.json": strings.ReplaceAll(whole, ".js", ""), "dist/worker": "x"}, step: "worker", says: "is no program"},
		"no JSON":             {files: map[string]string{"package.json": "{"}, step: "package.json", says: "no valid JSON"},
		"another name":        {files: map[string]string{"package.json": `{"name": "left-pad"}`}, step: "package.json", says: "no name of a plugin"},
		"no manifest":         {files: map[string]string{"package.json": goodPackage}, step: "manifest", says: "dist/manifest.js"},
		"a way out":           {files: map[string]string{"package.json": `{"name": "tenure-plugin-x", "paperclipPlugin": {"manifest": "../m.js"}}`}, step: "manifest", says: "leads out"},
		"a module that fails": {files: map[string]string{"package.json": goodPackage, "dist/manifest.js": "throw new Error('no such luck')"}, step: "manifest", says: "no such luck"},
		"nothing exported":    {files: map[string]string{"package.json": goodPackage, "dist/manifest.js": "export const x = 1"}, step: "manifest", says: "no default export"},
		"a bad manifest":      {files: map[string]string{"package.json": goodPackage, "dist/manifest.js": "export default {id: 'x'}"}, step: "manifest", says: "apiVersion"},
		"no worker":           {files: map[string]string{"package.json": goodPackage, "dist/manifest.js": goodModule}, step: "worker", says: "no such file"},
		"too much": {
			files: map[string]string{"package.json": goodPackage, "dist/manifest.js": "process.stdout.write('x'.repeat(5 << 20)); " + goodModule},
			step:  "manifest", says: "more than",
		},
		"no node": {
			files: map[string]string{"package.json": goodPackage, "dist/manifest.js": goodModule}, opts: manifest.ReadOptions{Node: "/no/node"},
			step: "node", says: "/no/node",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := manifest.ReadPackage(t.Context(), install(t, tc.files), tc.opts)
			failure, ok := errors.AsType[*drivers.Failure](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, drivers.OutcomeDefinite, failure.Outcome)
			require.Equal(t, "plugin_package_invalid", failure.Code)
			require.Equal(t, tc.step, failure.Step, "%v", err)
			require.Contains(t, err.Error(), tc.says)
			require.NotEmpty(t, failure.Remediation)
		})
	}
	dir := install(t, map[string]string{"package.json": `{"name": "tenure-plugin-x", "paperclipPlugin": {"manifest": "m.json"}}`})
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "m.json")))
	_, err := manifest.ReadPackage(t.Context(), dir, manifest.ReadOptions{})
	require.ErrorContains(t, err, "leads out of the package")
}

func TestAModuleThatNeverEndsIsEnded(t *testing.T) {
	t.Parallel()
	pid := filepath.Join(t.TempDir(), "pid")
	module := `import {spawn} from "node:child_process"; import {writeFileSync, renameSync} from "node:fs"
const child = spawn("sleep", ["600"], {stdio: "inherit"})
writeFileSync("` + pid + `.new", String(child.pid)); renameSync("` + pid + `.new", "` + pid + `")
await new Promise(() => {setInterval(() => {}, 1000)})`
	dir := install(t, map[string]string{"package.json": goodPackage, "dist/manifest.js": module})
	begun := func() bool {
		_, err := os.Stat(pid)
		return err == nil
	}
	// A busy machine may end it before it has a child to leave behind.
	for limit := 2 * time.Second; !begun(); limit *= 2 {
		require.Less(t, limit, 2*time.Minute, "it never begins")
		_, err := manifest.ReadPackage(t.Context(), dir, manifest.ReadOptions{Timeout: limit})
		failure, ok := errors.AsType[*drivers.Failure](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, drivers.OutcomeRetryable, failure.Outcome)
		require.ErrorContains(t, err, "longer than "+limit.String())
	}
	requireEnded(t, pid)
}

func TestWhatAModuleStartedEndsWithIt(t *testing.T) {
	t.Parallel()
	pid := filepath.Join(t.TempDir(), "pid")
	module := `import {spawn} from "node:child_process"; import {writeFileSync} from "node:fs"
const child = spawn("sleep", ["600"], {stdio: "inherit"})
writeFileSync("` + pid + `", String(child.pid))
` + goodModule
	dir := install(t, map[string]string{"package.json": goodPackage, "dist/manifest.js": module, "dist/worker.js": "x"})
	_, err := manifest.ReadPackage(t.Context(), dir, manifest.ReadOptions{})
	require.NoError(t, err)
	requireEnded(t, pid)
}

// requireEnded reads the pid of a process that must end by itself soon: it was killed, and the kernel ends what is killed when it comes to it.
func requireEnded(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(b)), "stat"))
		assert.True(t, err != nil || strings.Contains(string(stat), ") Z "), "its child has ended as well: %s", stat)
	}, time.Minute, 10*time.Millisecond)
}
