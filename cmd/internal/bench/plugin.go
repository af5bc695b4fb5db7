package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// pluginRoundTrip measures a call of a plugin's worker that has next to nothing to do; the floor is a line to a process that
// sends it back.
func pluginRoundTrip(ctx context.Context, b *bench) (err error) {
	e, err := b.engine(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	offer, err := e.app.Plugins().Offer(provider.Query{Kind: provider.KindSandbox, Key: fake.KeyOf(drivers.ClassListable)})
	if err != nil {
		return err
	}
	worker, err := offer.Worker(ctx)
	if err != nil {
		return err
	}
	mirror, err := newMirror(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mirror.close()) }()
	ask := provider.ListRequest{
		Scope:        provider.Scope{CompanyID: e.company.String(), EnvironmentID: uuid.NewString(), Config: json.RawMessage(`{}`)},
		Installation: uuid.NewString(),
	}
	warmUp := min(100, b.sizes.trips)
	var took, under []time.Duration
	for i := range b.sizes.trips + warmUp {
		line, err := mirror.trip()
		if err != nil {
			return err
		}
		began := time.Now()
		if _, err := worker.ListRuntimes(ctx, ask); err != nil {
			return err
		}
		trip := time.Since(began)
		if i >= warmUp {
			took, under = append(took, trip), append(under, line)
		}
	}
	const aim = 0.3
	value, floor := milliseconds(median(took)), milliseconds(median(under))
	b.report.add(entry{Name: "plugin/roundtrip/p50", Value: value, Unit: "ms"}.against(floor, value/floor).atMost(aim))
	return nil
}

// mirror is a process that sends back every line.
type mirror struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newMirror(ctx context.Context) (*mirror, error) {
	cmd := exec.CommandContext(ctx, "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &mirror{cmd: cmd, in: in, out: bufio.NewReader(out)}, cmd.Start()
}

// mirrored is about as long as a call.
var mirrored = append(make([]byte, 300), '\n')

func (m *mirror) trip() (time.Duration, error) {
	began := time.Now()
	if _, err := m.in.Write(mirrored); err != nil {
		return 0, err
	}
	_, err := m.out.ReadSlice('\n')
	return time.Since(began), err
}

func (m *mirror) close() error { return errors.Join(m.in.Close(), m.cmd.Wait()) }
