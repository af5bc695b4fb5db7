package bubblewrap

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// version is that of bwrap; the zero one is unknown.
type version struct{ major, minor, patch int }

// modern versions can forbid further user namespaces and bound a tmpfs.
func (v version) modern() bool { return v.major > 0 || v.minor >= 8 }

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

func (d *Driver) askVersion() version {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.opts.Bwrap, "--version")
	cmd.Env = []string{}
	out, err := cmd.Output()
	if err != nil {
		return version{} // starting a sandbox will say what is wrong
	}
	var v version
	number := strings.TrimSpace(strings.TrimPrefix(string(out), "bubblewrap"))
	_, _ = fmt.Sscanf(number, "%d.%d.%d", &v.major, &v.minor, &v.patch) // a part that is missing stays 0
	return v
}
