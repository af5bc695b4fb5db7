package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// runID is the run that the demo leases for.
const runID = "demo-1"

// script is the command's stdin: it writes a module into the workspace, and tests, builds and runs it. Go compiles its
// library first, as the cache is empty; vet would do much of that once more.
const script = `set -eu
echo "in $(pwd), as uid $(id -u), with $(go version)"
cat >go.mod <<'END'
module example.com/greet

go 1.21
END
cat >main.go <<'END'
package main

import (
	"os"
	"strings"
)

func greet(who string) string { return "hello, " + strings.TrimSpace(who) }

func main() { os.Stdout.WriteString(greet("leased world ") + "\n") }
END
cat >main_test.go <<'END'
package main

import "testing"

func TestGreet(t *testing.T) {
	if got := greet(" you "); got != "hello, you" {
		t.Fatal(got)
	}
}
END
go test -vet=off ./...
go build -o app .
./app
`

// buildModule runs the script in a lease. A command's environment is built from nothing, so everything that Go needs is
// given, and its caches lie in the workspace, which goes with the lease.
func (s *stage) buildModule(ctx context.Context) error {
	root, err := s.goRoot(ctx)
	if err != nil {
		return err
	}
	args := []string{"run", "--env", "local", "--run", runID, "--timeout", "3m"}
	for _, v := range []string{
		"PATH=" + filepath.Join(root, "bin") + ":/usr/local/bin:/usr/bin:/bin", "GOROOT=" + root, "GOTOOLCHAIN=local", "GOENV=off",
		"GOFLAGS=-mod=mod", "GOPROXY=off", "GOTELEMETRY=off", "CGO_ENABLED=0",
	} {
		args = append(args, "--var", v)
	}
	// HOME is the workspace, and so are Go's caches.
	args = append(args, "--", "sh", "-c", `export GOCACHE="$HOME/.cache/build" GOPATH="$HOME/.cache/go" GOMODCACHE="$HOME/.cache/go/mod"; exec sh -s`)
	return s.tenureWith(ctx, script, args...)
}

// goRoot finds Go's own directory. Where another user may not read it, as below root's home, that user gets a copy.
func (s *stage) goRoot(ctx context.Context) (string, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		path = "/usr/local/go/bin/go"
	}
	cmd := exec.CommandContext(ctx, path, "env", "GOROOT")
	// Go would leave its telemetry in the caller's configuration.
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(s.dir, "config"))
	if os.Getenv("HOME") == "" && os.Getenv("GOCACHE") == "" {
		cmd.Env = append(cmd.Env, "GOCACHE="+filepath.Join(s.dir, "gocache"))
	}
	out, err := cmd.Output()
	root := strings.TrimSpace(string(out))
	if err == nil && root == "" {
		err = errors.New("go env GOROOT is empty")
	}
	if err != nil {
		return "", fmt.Errorf("find Go: %w; put go into PATH", err)
	}
	if os.Geteuid() != 0 || passable(filepath.Join(root, "bin")) && passable(filepath.Join(root, "src")) && passable(filepath.Join(root, "pkg")) {
		return root, nil
	}
	fmt.Fprintf(s.out, "%s is closed to other users: copying it\n", root)
	open := filepath.Join(s.dir, "go")
	for _, part := range []string{"bin", "pkg", "src"} {
		if err := os.CopyFS(filepath.Join(open, part), os.DirFS(filepath.Join(root, part))); err != nil {
			return "", fmt.Errorf("copy Go: %w", err)
		}
	}
	return open, nil
}
