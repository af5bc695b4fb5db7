package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// finding is one line of the doctor.
type finding struct {
	Check string `json:"check"`
	// Status is ok, warn or fail.
	Status      string `json:"status"`
	Detail      string `json:"detail"`
	Remediation string `json:"remediation,omitempty"`
}

const (
	findOK   = "ok"
	findWarn = "warn"
	findFail = "fail"
)

var findingView = view[finding]{
	name: func(f finding) string { return f.Check },
	columns: []column[finding]{
		{title: "CHECK", value: func(f finding, _ cell) string { return f.Check }},
		{title: "STATUS", value: func(f finding, _ cell) string { return f.Status }},
		{title: "DETAIL", value: func(f finding, _ cell) string { return f.Detail }},
		{title: "TRY", value: func(f finding, _ cell) string { return f.Remediation }},
	},
}

func (r *root) doctor() *cobra.Command {
	return r.verb(verb{
		use:      "doctor",
		short:    "Find out what is wrong, and what to do about it",
		examples: [2]string{"tenure doctor", "tenure doctor -o json"},
		exits:    []int{exitDone, exitFailed, exitUsage, exitNotSignedIn, exitUnbalanced, exitUnreachable, exitInterrupted},
		exitNotes: []string{
			"nothing is wrong; there may be warnings",
			"a check failed",
		},
		run: func(ctx context.Context, _ []string) error {
			d := &examination{r: r}
			cause := d.examine(ctx)
			if err := findingView.list(r, d.findings); err != nil {
				return err
			}
			return cause
		},
	})
}

// examination collects findings. Each check stands for itself: one that cannot be made does not hide the next.
type examination struct {
	r        *root
	c        *client.Client
	findings []finding
	failed   bool
	// unbalanced says that a runtime is accounted for by nothing.
	unbalanced bool
}

func (d *examination) say(check, status, remediation, detail string, args ...any) {
	d.failed = d.failed || status == findFail
	d.findings = append(d.findings, finding{check, status, fmt.Sprintf(detail, args...), remediation})
}

// trouble says that a check could not be made. What the key may not see is no trouble of the server's.
func (d *examination) trouble(check string, err error) {
	f := explain(err)
	status := findFail
	if f.ExitCode == exitForbidden {
		status = findWarn
	}
	d.say(check, status, f.Remediation, "%s", f.Message)
}

func (d *examination) examine(ctx context.Context) error {
	server := d.r.serverURL()
	anonymous, err := client.New(server, "", client.WithUserAgent(programName+"/"+d.r.Version))
	if err != nil {
		return usagef("server: %s", err).mendBy("give --server or TENURE_SERVER as http://HOST:PORT")
	}
	if err := d.health(ctx, anonymous, server); err != nil {
		return err
	}
	if d.c, err = d.r.api(ctx); err != nil {
		d.trouble("key", err)
		return err
	}
	companies, err := d.key(ctx)
	if err != nil {
		return err
	}
	d.log(ctx)
	d.projections(ctx)
	d.workers(ctx)
	d.nodes(ctx)
	d.clock(ctx)
	d.leases(ctx, companies)
	d.leaks(ctx)
	d.balance(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d.unbalanced {
		return exitStatus(exitUnbalanced)
	}
	if d.failed {
		return exitStatus(exitFailed)
	}
	return nil
}

func (d *examination) health(ctx context.Context, c *client.Client, server string) error {
	h, err := c.Health(ctx)
	problem, answered := errors.AsType[*client.Problem](err)
	switch {
	case err == nil:
		d.say("server", findOK, "", "%s answers, version %s", server, h.Version)
	case answered:
		d.say("server", findFail, orElse(problem.Remediation, "look at the server's log"), "%s is not ready: %s", server, problem.Error())
	default:
		d.trouble("server", err)
		return err
	}
	if err == nil && h.Version != d.r.Version {
		d.say("version", findWarn, "use the program that belongs to the server", "this program is %s, the server %s", d.r.Version, h.Version)
	}
	return nil
}

// key checks that the key is valid and says what it is for, as far as its rights show.
func (d *examination) key(ctx context.Context) ([]wire.Company, error) {
	companies, err := all(ctx, d.c.Companies)
	if err != nil {
		d.trouble("key", err)
		return nil, err
	}
	scope := uuid.Nil
	if len(companies) == 1 {
		scope = companies[0].ID
	}
	role := "client, auditor, or operator of one company"
	if _, err := d.c.Keys(ctx, scope); err == nil {
		role = "admin"
	} else if _, err := d.c.Projections(ctx); err == nil {
		role = "operator or auditor"
	}
	d.say("key", findOK, "", "valid, role %s, %d companies", role, len(companies))
	if len(companies) == 0 {
		d.say("company", findWarn, "tenure company add NAME", "there is no company yet")
	}
	return companies, nil
}

// muchLag is how many events a read model may be behind without a word.
const muchLag = 1000

func (d *examination) projections(ctx context.Context) {
	projections, err := all(ctx, d.c.Projections)
	if err != nil {
		d.trouble("projections", err)
		return
	}
	var worst int64
	sound := true
	for _, p := range projections {
		worst = max(worst, p.Lag)
		switch {
		case p.Stopped != nil:
			sound = false
			d.say("projection "+p.Name, findFail, "tenure projection parked "+p.Name, "it stopped: %s", *p.Stopped)
		case p.Parked > 0:
			sound = false
			d.say("projection "+p.Name, findWarn, "tenure projection parked "+p.Name, "%d streams are parked", p.Parked)
		case p.Lag > muchLag:
			sound = false
			d.say("projection "+p.Name, findWarn, "wait; if it does not shrink, look at the server's log", "%d events behind", p.Lag)
		}
		if p.Rebuild != nil && p.Rebuild.State == wire.RebuildFailed {
			sound = false
			d.say("projection "+p.Name, findWarn, "tenure projection rebuild "+p.Name, "the last rebuild failed: %s", text(p.Rebuild.Error))
		}
	}
	if sound {
		d.say("projections", findOK, "", "%d are live, at most %d events behind, none parked", len(projections), worst)
	}
}

func (d *examination) workers(ctx context.Context) {
	workers, err := all(ctx, d.c.Workers)
	if err != nil {
		d.trouble("workers", err)
		return
	}
	alive := 0
	for _, w := range workers {
		if w.Alive && w.Role != string(RoleAPI) {
			alive++
		}
	}
	if alive == 0 {
		d.say("workers", findFail, "start one: tenure serve, or tenure worker", "none is alive, so no lease becomes active and none ends")
		return
	}
	d.say("workers", findOK, "", "%d alive", alive)
}

// oldRequest is how long a lease may wait for a slot without a word.
const oldRequest = 5 * time.Minute

func (d *examination) leases(ctx context.Context, companies []wire.Company) {
	pending, waiting := 0, 0
	for _, company := range companies {
		list := func(status string) []wire.Lease {
			leases, err := all(ctx, leasesOf(d.c, company.ID, client.LeaseFilter{Status: status}))
			if err != nil {
				d.trouble("leases of "+company.Name, err)
			}
			return leases
		}
		pending += len(list(wire.LeasePendingCleanup))
		for _, l := range list(wire.LeaseQueued) {
			if time.Since(l.CreatedAt) > oldRequest {
				waiting++
			}
		}
	}
	if pending > 0 {
		d.say("cleanup", findWarn, "tenure lease list --status pending_cleanup", "%d leases could not be taken down yet", pending)
	} else {
		d.say("cleanup", findOK, "", "nothing is left behind")
	}
	if waiting > 0 {
		d.say("queue", findWarn, "raise the limit: tenure env edit NAME --max-leases N", "%d leases have waited for more than %s", waiting, roughly(oldRequest))
	}
}

// leaks counts what may be left outside.
func (d *examination) leaks(ctx context.Context) {
	leaks, err := all(ctx, leaksOf(d.c, client.LeakFilter{}))
	switch {
	case err != nil:
		d.trouble("leaks", err)
	case len(leaks) > 0:
		d.say("leaks", findWarn, "tenure leak list", "%d things may be left outside although no lease looks after them", len(leaks))
	default:
		d.say("leaks", findOK, "", "nothing is left outside that is known of")
	}
}

// balance checks that every runtime there ever was is accounted for.
func (d *examination) balance(ctx context.Context) {
	b, err := d.c.Balance(ctx)
	switch {
	case err != nil:
		d.trouble("balance", err)
	case b.Lost > 0:
		d.unbalanced = true
		d.say("balance", findFail, "report it, with the answer of GET /api/v1/balance", "%d of %d runtimes are accounted for by nothing", b.Lost, b.Created)
	default:
		d.say("balance", findOK, "", "%d runtimes created: %d held, %d in work, %d listed as leaks, %d destroyed", b.Created, b.Held, b.InWork, b.Listed, b.Destroyed)
	}
}
