package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/migrations/pgtest/pgcluster"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// report is what a run leaves.
type report struct {
	check.Report
	// Faults is what was done, by what it was.
	Faults map[fault]int `json:"faults"`
	// Duration is as it was asked for.
	Duration string `json:"duration"`
}

// Limits of what is judged.
const (
	sweep = time.Second
	// slack is for a machine that has fewer cores than processes.
	slack  = 15 * time.Second
	skew   = 2 * time.Second
	reaper = 30 * time.Second
)

// judge gathers all that is known and gives it to the checker.
func (r *run) judge(ctx context.Context, out *report, settled bool) error {
	pool, err := pgxpool.New(ctx, r.db.now().URL(pgcluster.RoleSuper, pgcluster.Database))
	if err != nil {
		return err
	}
	defer pool.Close()
	h := check.History{
		Lost: r.db.lost, Clones: r.clones, Away: r.away.all(),
		Limits: check.Limits{Settled: settled, Sweep: sweep, Slack: slack, Skew: skew, Reaper: reaper},
	}
	var installation uuid.UUID
	if err := pool.QueryRow(ctx, `SELECT installation, clock_timestamp() FROM log`).Scan((*[16]byte)(&installation), &h.Limits.End); err != nil {
		return err
	}
	if h.Log, err = readLog(ctx, r.db.now(), 0); err != nil {
		return err
	}
	if h.ReadModels, err = readModels(ctx, pool); err != nil {
		return err
	}
	ledger, err := fake.ReadLedger(fake.LedgerPath(r.provider))
	if err != nil {
		return err
	}
	h.Ledgers = check.FromFake(ledger.Entries, installation.String())
	h.Calls = r.calls.list()
	r.say("judging %d events, %d calls, %d ledgers, %d read models", len(h.Log), len(h.Calls), len(h.Ledgers), len(h.ReadModels))
	found := check.Check(h)
	for _, v := range found.Violations {
		r.say("VIOLATION %s", v)
	}
	out.Fill(h, found)
	if len(found.Violations)+len(r.violations) > 0 {
		return r.keep(h)
	}
	return nil
}

// fill puts into a report what the run itself knows.
func (r *run) fill(out *report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out.Violations = append(append([]check.Violation{}, r.violations...), out.Violations...)
	out.Errors = append(out.Errors, r.problems...)
	out.Faults = map[fault]int{}
	for f := range every {
		out.Faults[f] = r.counts[f]
	}
	out.Duration = r.duration.String()
}

// effects are the lines of a provider's ledger by which something was done.
func effects(provider string) ([]check.Entry, error) {
	ledger, err := fake.ReadLedger(fake.LedgerPath(provider))
	if err != nil {
		return nil, err
	}
	return check.FakeEffects(ledger.Entries), nil
}

// keep writes down what a person looks at.
func (r *run) keep(h check.History) error {
	ledger, err := os.ReadFile(fake.LedgerPath(r.provider))
	if err == nil {
		err = os.WriteFile(r.path("ledger.jsonl"), ledger, 0o600)
	}
	return errors.Join(err, writeLines(r.path("log.jsonl"), h.Log), writeLines(r.path("lost.jsonl"), h.Lost), writeLines(r.path("away.jsonl"), h.Away))
}

// line is an event for a person.
type line struct {
	Position   int64             `json:"position"`
	Epoch      int64             `json:"epoch"`
	Stream     eventstore.Stream `json:"stream"`
	Version    int64             `json:"version"`
	Name       string            `json:"name"`
	RecordedAt time.Time         `json:"recordedAt"`
	Actor      uuid.UUID         `json:"actor"`
	Request    uuid.UUID         `json:"request"`
	Append     uuid.UUID         `json:"append"`
	Data       json.RawMessage   `json:"data"`
}

// writeLines writes a list as lines of JSON.
func writeLines[T any](path string, list []T) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := bufio.NewWriter(file)
	encoder := json.NewEncoder(out)
	for _, item := range list {
		var shown any = item
		if e, ok := shown.(eventstore.Recorded); ok {
			shown = line{
				Position: e.Position, Epoch: e.Epoch, Stream: e.Stream, Version: e.Version, Name: e.Name, RecordedAt: e.RecordedAt,
				Actor: e.By.Actor.UUID, Request: e.By.Request, Append: e.AppendID, Data: e.Payload,
			}
		}
		if err := encoder.Encode(shown); err != nil {
			return err
		}
	}
	return out.Flush()
}

// writeReport writes the report to a file and to whoever called.
func writeReport(out report, path string, stdout io.Writer) error {
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	if _, err := stdout.Write(raw); err != nil {
		return err
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
