package main

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/pg"
)

const insertFloor = `
	INSERT INTO floor_events (` + pg.Columns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`

// streamEvents is how many events a writer puts on a stream before it takes a new one, as many as a short lease has.
const streamEvents = 8

// floor is what Postgres does without the engine: each writer has a connection and a prepared statement, and inserts the
// same row with the same indexes, one at a time, each on disk before the next. Places in the log cost it nothing.
type floor struct {
	writers  []*floorWriter
	position atomic.Int64
}

type floorWriter struct {
	floor   *floor
	conn    *pgx.Conn
	stream  string
	version int64
	random  []byte
	payload []byte
}

func newFloor(ctx context.Context, url string, writers int) (*floor, error) {
	f := &floor{}
	for range writers {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, errors.Join(err, f.close(ctx))
		}
		w := &floorWriter{floor: f, conn: conn, random: make([]byte, 4*eventstore.SaltBytes), payload: payload()}
		_, _ = rand.Read(w.random) // crypto/rand.Read never fails
		f.writers = append(f.writers, w)
	}
	return f, nil
}

func (f *floor) close(ctx context.Context) error {
	var problems []error
	for _, w := range f.writers {
		problems = append(problems, w.conn.Close(context.WithoutCancel(ctx)))
	}
	return errors.Join(problems...)
}

// rate is the rows per second of all writers together.
func (f *floor) rate(ctx context.Context, length time.Duration) (float64, error) {
	return together(ctx, len(f.writers), length, func(ctx context.Context, i int) error { return f.writers[i].insert(ctx) })
}

// together lets n workers repeat what they do until the time is over, and returns how often per second they did it.
func together(ctx context.Context, n int, length time.Duration, do func(ctx context.Context, i int) error) (float64, error) {
	var done atomic.Int64
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range n {
		group.Go(func() error {
			// Once at least: on a machine that is busy, a short round may be over before all have begun.
			for first := true; first || time.Since(began) < length; first = false {
				if err := do(ctx, i); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	return float64(done.Load()) / time.Since(began).Seconds(), err
}

// commit is the time of one row.
func (w *floorWriter) commit(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := w.insert(ctx)
	return time.Since(began), err
}

func (w *floorWriter) insert(ctx context.Context) error {
	if w.version%streamEvents == 0 {
		w.stream, w.version = string(eventstore.StreamOf(lease.Category, newID())), 0
	}
	w.version++
	position := w.floor.position.Add(1)
	salt, commitment := w.random[:eventstore.SaltBytes], w.random[eventstore.SaltBytes:2*eventstore.SaltBytes]
	before, hash := w.random[2*eventstore.SaltBytes:3*eventstore.SaltBytes], w.random[3*eventstore.SaltBytes:]
	// As arrays of bytes: pgx sends a uuid.UUID as text, which it makes first and Postgres reads back.
	owner, none := [16]byte(company.UUID), [16]byte{}
	_, err := w.conn.Exec(ctx, insertFloor, position, int64(1), w.stream, w.version, eventName, int32(1), owner, position, time.Now(),
		[16]byte(newID()), int32(0), owner, owner, [16]byte(newID()), none, w.payload, salt, commitment, before, hash)
	return err
}
