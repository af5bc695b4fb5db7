package ssh

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tenure-dev/tenure/drivers"
)

// machineOf is what metadata says of a host's machine id, which is not for everybody to know. "" stays "".
func machineOf(id string) string {
	if id == "" {
		return ""
	}
	sum := hmac.New(sha256.New, []byte("tenure: machine of a runtime"))
	sum.Write([]byte(id))
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// wanted is the runtime that a verb is about.
type wanted struct {
	runtimeID, installation string
	metadata                json.RawMessage
}

// Keep implements [drivers.Keeper]. It ends the commands of this process with their grace, and what else of the runtime runs
// at once. A workspace without processes uses nothing but its disk, stopped or not.
func (d *Driver) Keep(ctx context.Context, req drivers.KeepRequest) error {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return err
	}
	c, err := configOf(req.Config)
	if err != nil {
		return err
	}
	done, err := d.quiet(ctx, req.RuntimeID)
	if err != nil {
		return err
	}
	defer done()
	if err := d.endCommands(ctx, req.RuntimeID, req.Fence); err != nil {
		return err
	}
	of := wanted{req.RuntimeID, req.Installation, req.Metadata}
	_, err = d.change(ctx, d.place(c), of, "keep", func(m marker) (first, last marker, err error) {
		if err := m.hold().Yields(req.Fence); err != nil {
			return m, m, err
		}
		m.Fence, m.Kept = req.Fence, true
		return m, m, nil
	})
	return lost(err)
}

// Resume implements [drivers.Keeper].
func (d *Driver) Resume(ctx context.Context, req drivers.ResumeRequest) (drivers.Runtime, error) {
	if err := checkRuntimeID(req.RuntimeID); err != nil {
		return drivers.Runtime{}, err
	}
	c, err := configOf(req.Config)
	if err != nil {
		return drivers.Runtime{}, err
	}
	p := d.place(c)
	done, err := d.quiet(ctx, req.RuntimeID)
	if err != nil {
		return drivers.Runtime{}, err
	}
	defer done()
	if req.Fence > 1 { // those that a newer holder ends anyway
		if err := d.endCommands(ctx, req.RuntimeID, req.Fence-1); err != nil {
			return drivers.Runtime{}, err
		}
	}
	of := wanted{req.RuntimeID, req.Installation, req.Metadata}
	got, err := d.change(ctx, p, of, "resume", func(m marker) (first, last marker, err error) {
		if err := m.hold().Yields(req.Fence); err != nil {
			return m, m, err
		}
		if m.Fence == req.Fence && !m.Kept {
			return m, m, errHeld
		}
		// Older holders are shut out first, and this one let in last: a crash in between leaves it to be resumed again.
		m.Fence, m.LeaseID, m.Epoch = req.Fence, req.LeaseID, req.Epoch
		first, last = m, m
		first.Kept, last.Kept = true, false
		return first, last, nil
	})
	if err != nil {
		return drivers.Runtime{}, mismatched(err)
	}
	found := d.discover(ctx, p, got.conn)
	if found.URL == "" && c.urlNeeded {
		if ctx.Err() != nil {
			return drivers.Runtime{}, context.Cause(ctx)
		}
		return drivers.Runtime{}, urlMissing(found)
	}
	return d.runtime(p, got.conn, got.m, got.machine, true, found.URL), nil
}

// errHeld: the runtime is as it should be.
var errHeld = errors.New("it is held already")

// held is what a change of holders came to.
type held struct {
	m       marker
	machine string
	conn    *conn
}

// change looks at a runtime, lets decide say what is to be written before its processes are ended and after, and does that if
// nobody came between.
func (d *Driver) change(
	ctx context.Context, p place, of wanted, mode string, decide func(m marker) (first, last marker, err error),
) (held, error) {
	pins, was := pinsOf(of.metadata)
	vars := []variable{
		{"root", p.c.root}, {"id", of.runtimeID}, {"cwd", p.c.remoteCwd(of.runtimeID)}, {"own", p.c.own()}, {"machinefile", d.opts.machineFile},
	}
	ask := func(mode string, more ...variable) (reply, error) {
		r, err := p.run(ctx, pins, holdScript, append(append(vars[:len(vars):len(vars)], variable{"mode", mode}), more...)...)
		if err == nil && len(r.lines) < 3 {
			err = failedAt("read_marker", "bad_reply", errors.New("the host's answer is incomplete"))
		}
		return r, err
	}
	for range 5 { // again only if another holder came between
		r, err := ask("look")
		if err != nil {
			return held{}, err
		}
		got := held{machine: machineOf(r.lines[1]), conn: r.conn}
		if was.Machine != "" && got.machine != was.Machine {
			return held{}, &drivers.Failure{
				Outcome: drivers.OutcomeDefinite, Code: "another_machine", Step: "check_identity",
				Err:         fmt.Errorf("%w: another machine answers at %s", drivers.ErrMismatch, p.c.addr()),
				Remediation: "let the address lead to the machine that has the runtime, or release it there",
			}
		}
		if r.lines[2] == "gone" || len(r.lines) < 4 {
			if mode == "keep" { // what still runs of it
				if _, err := ask(mode); err != nil {
					return held{}, err
				}
			}
			return held{}, drivers.ErrGone
		}
		onHost := r.lines[3]
		if got.m, err = of.read(onHost); err != nil {
			return held{}, err
		}
		first, last, err := decide(got.m)
		if errors.Is(err, errHeld) {
			return got, nil
		}
		if err != nil {
			return held{}, err
		}
		if r, err = ask(mode, variable{"expect", onHost}, variable{"first", first.String()}, variable{"last", last.String()}); err != nil {
			return held{}, err
		}
		switch r.lines[2] {
		case "done":
			got.m = last
			return got, nil
		case "gone":
			return held{}, drivers.ErrGone
		case "lost":
			return held{}, fmt.Errorf("%w: its directory was removed", drivers.ErrGone)
		case "moved":
			return held{}, fmt.Errorf("%w: its directory was made anew", drivers.ErrMismatch)
		}
	}
	return held{}, failedAt("write_marker", "io_error", errors.New("the marker keeps changing"))
}

// read tells the runtime that was meant from another.
func (of wanted) read(onHost string) (m marker, err error) {
	switch err := json.Unmarshal([]byte(onHost), &m); {
	case err != nil:
		return m, fmt.Errorf("%w: its marker is damaged", drivers.ErrMismatch)
	case m.Installation != of.installation:
		return m, fmt.Errorf("%w: it is another installation's", drivers.ErrMismatch)
	case m.Identity != drivers.IdentityOf(of.metadata):
		return m, fmt.Errorf("%w: it was made anew", drivers.ErrMismatch)
	}
	return m, nil
}

func (m marker) hold() drivers.Hold { return drivers.Hold{Fence: m.Fence, Kept: m.Kept} }

// mismatched says of a host with another key what it means for a runtime there.
func mismatched(err error) error {
	if f, ok := errors.AsType[*drivers.Failure](err); ok && f.Code == "host_key_mismatch" {
		return fmt.Errorf("%w: %w", drivers.ErrMismatch, err)
	}
	return err
}

// lost is the error of Keep where something else has the runtime's name. On another machine nothing is known of it.
func lost(err error) error {
	if _, ok := errors.AsType[*drivers.Failure](err); ok {
		return err
	}
	return drivers.Lost(err)
}
