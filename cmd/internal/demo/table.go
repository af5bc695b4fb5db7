package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// sameCommand is what runs everywhere. It must say so.
var sameCommand = []string{"sh", "-c", `echo "hello from $(pwd)"`}

const (
	said = "hello from /"
	// patience is how long each step of a place may take.
	patience = 2 * time.Minute
)

// timing is what a client waited for.
type timing struct {
	acquire, first, release time.Duration
	output                  string
}

// compare runs the same command in every place and prints what a client waited for.
func (s *stage) compare(ctx context.Context) error {
	key, err := os.ReadFile(filepath.Join(s.dir, "data", "admin.key"))
	if err != nil {
		return err
	}
	c, err := client.New(s.address, strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	defer c.CloseIdleConnections()
	companies, err := c.Companies(ctx)
	if err != nil {
		return err
	}
	if len(companies.Items) != 1 {
		return fmt.Errorf("there are %d companies", len(companies.Items))
	}
	company := companies.Items[0].ID
	known, err := c.Environments(ctx, company)
	if err != nil {
		return err
	}
	ids := map[string]uuid.UUID{}
	for _, e := range known.Items {
		ids[e.Name] = e.ID
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(s.out, "the same command everywhere: %s\n", strings.Join(sameCommand, " "))
	fmt.Fprintln(table, "environment\tacquire ms\tfirst output ms\trelease ms\toutput")
	var problems []error
	for _, p := range s.places {
		if p.skipped != "" {
			fmt.Fprintf(table, "%s\t-\t-\t-\t%s\n", p.name, p.skipped)
			continue
		}
		took, err := visit(ctx, c, company, ids[p.name])
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", p.name, err))
			fmt.Fprintf(table, "%s\t-\t-\t-\t%s\n", p.name, "failed, see below")
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", p.name, ms(took.acquire), ms(took.first), ms(took.release), took.output)
	}
	table.Flush()
	return errors.Join(problems...)
}

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}

// visit leases the environment, runs the command and gives the lease back, also when the command did not work.
func visit(ctx context.Context, c *client.Client, company, environment uuid.UUID) (took timing, err error) {
	began := time.Now()
	got, active, err := c.AcquireLease(ctx, company, wire.AcquireLease{
		EnvironmentID: environment, HeartbeatRunID: "demo-" + environment.String(),
	}, client.Wait(patience))
	if err != nil {
		return took, err
	}
	if !active {
		return took, fmt.Errorf("the lease is %s after %s", got.Lease.Status, patience)
	}
	took.acquire = time.Since(began)
	took.first, took.output, err = runThere(ctx, c, got.Lease)
	began = time.Now()
	released, releaseErr := c.ReleaseLease(ctx, got.Lease.ID, wire.Release{}, client.Wait(patience))
	took.release = time.Since(began)
	if releaseErr == nil && released.Status != wire.LeaseReleased {
		releaseErr = fmt.Errorf("the lease is %s %s after its release", released.Status, patience)
	}
	if releaseErr == nil { // so that the lists that follow have it
		_, releaseErr = c.Leases(ctx, company, client.LeaseFilter{}, client.MinPosition(released.Position))
	}
	return took, errors.Join(err, releaseErr)
}

// runThere runs the command and follows its output from the start.
func runThere(ctx context.Context, c *client.Client, lease wire.Lease) (first time.Duration, output string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the command did not end within %s", patience))
	defer cancel()
	began := time.Now()
	x, err := c.StartExec(ctx, lease.ID, lease.Fence, wire.StartExec{Argv: sameCommand})
	if err != nil {
		return 0, "", err
	}
	var all []byte
	for line, err := range c.ExecOutput(ctx, x.ID, client.OutputOptions{Follow: true}) {
		if err != nil {
			return 0, "", err
		}
		if len(line.Data) > 0 && first == 0 {
			first = time.Since(began)
		}
		all = append(all, line.Data...)
	}
	output = strings.TrimSpace(string(all))
	if x, err = c.Exec(ctx, x.ID, client.Wait(patience)); err != nil {
		return 0, "", err
	}
	if r := x.Result; r == nil || r.ExitCode == nil || *r.ExitCode != 0 || !strings.HasPrefix(output, said) {
		return 0, "", fmt.Errorf("the command is %s (%+v) and said %q", x.Status, x.Result, output)
	}
	return first, output, nil
}
