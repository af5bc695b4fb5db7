package apptest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/plugintest/conformance"
)

// Conforms lets `tenure plugin test` check the worker of a plugin that comes with the engine. As is a user id for it that is not
// root; 0 is whoever runs the tests. Env are variables of the worker, as NAME=value. It returns how many checks passed.
func Conforms(t *testing.T, as uint32, plugin string, config map[string]any, env ...string) (passed int) {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	state := Dir(t)
	require.NoError(t, os.Chmod(state, 0o777)) //nolint:gosec // the worker may be another user
	args := append([]string{"plugin", "test", "-o", "json", "--config", string(raw), "--", "env", "TENURE_PLUGIN_STATE=" + state}, env...)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(t), append(args, Binary(t), "__plugin", plugin)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + state}
	cmd.Dir = "/"
	if as != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as, Gid: as}}
	}
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Errorf("%v\n%s", err, exit.Stderr)
	} else {
		require.NoError(t, err)
	}
	var report conformance.Report
	require.NoError(t, json.Unmarshal(out, &report), "%s", out)
	for _, r := range report.Results {
		switch r.Status {
		case conformance.Pass:
			passed++
		case conformance.Fail:
			t.Errorf("%s of %s: %s: %s", r.Check, r.Driver, r.Sentence, r.Detail)
		case conformance.NotApplicable:
			t.Logf("%s of %s does not apply: %s", r.Check, r.Driver, r.Detail)
		}
	}
	return passed
}
