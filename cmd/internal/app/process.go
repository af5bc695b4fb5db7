package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
	"github.com/tenure-dev/tenure/cmd/internal/early"
	_ "github.com/tenure-dev/tenure/cmd/internal/early/container" // the program has this role as well
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
)

// Serve runs an engine until ctx ends, or until it cannot go on.
func Serve(version string) func(context.Context, cli.ServeOptions, io.Writer) error {
	return func(ctx context.Context, o cli.ServeOptions, stderr io.Writer) error {
		log, err := newLogger(o, stderr)
		if err != nil {
			return err
		}
		a, err := Start(ctx, Options{
			Role: eventstore.Role(o.Role), Address: o.Address,
			Version: version, Listen: o.Listen, DataDir: o.DataDir, DatabaseURL: o.DatabaseURL, DatabaseDirectURL: o.DatabaseDirectURL,
			PluginUID: o.PluginUID, PluginEnv: o.PluginEnv, PluginSecretEnv: o.PluginSecretEnv, PublicURL: o.PublicURL, AllowedHosts: o.AllowedHosts,
			AllowRuntimeURL: o.AllowRuntimeURL, DenyRuntimeURL: o.DenyRuntimeURL, RuntimeCandidates: o.RuntimeCandidates, AgentSocket: o.AgentSocket,
			Keyset: o.Keyset, ExecUID: o.ExecUID, AllowRootExec: o.AllowRootExec, InsecureListen: o.InsecureListen,
			AllowFakeSelection: o.AllowFakeSelection,
			ExecParent:         []string{"/proc/self/exe", ExecParentCommand}, Logger: log, DrainTimeout: o.DrainTimeout,
			Supervisor: supervisor.Options{
				Parallel: o.Parallel, LivenessTTL: o.WorkerTTL, SweepInterval: o.SweepInterval,
				ProvisionTimeout: o.ProvisionTimeout, ReleaseTimeout: o.ReleaseTimeout,
				CleanupAttempts: o.CleanupAttempts, ReapInterval: o.ReapInterval,
				ExpiryRate: o.ExpiryRate, ClockJump: o.ClockJump, ClockSettle: o.ClockSettle, GapCap: o.GapCap,
			},
		})
		if err != nil {
			return startFailure(err)
		}
		fmt.Fprintf(stderr, "listening on %s\n", a.Address())
		select {
		case <-ctx.Done():
			log.Info("stopping", "cause", context.Cause(ctx).Error())
		case err = <-a.Failed():
			log.Error("the engine cannot go on", "error", err)
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.DrainTimeout+stopLimit)
		defer cancel()
		began := time.Now()
		if stopErr := a.Stop(stop); stopErr != nil {
			return stopErr
		}
		log.Info("stopped", "took", time.Since(began).Round(time.Millisecond).String())
		return err
	}
}

// ExecParentCommand is the hidden subcommand that is the parent of a command. Every program with this package has it, see package
// early.
const ExecParentCommand = early.ExecParent

func newLogger(o cli.ServeOptions, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.LogLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: give debug, info, warn or error", o.LogLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	if o.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}
