package pg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Columns are the columns of an event in the order in which rows of the log are read.
const Columns = `position, epoch, stream, version, name, revision, company_id, company_position, recorded_at,
	append_id, append_index, actor_id, key_id, request_id, cause_id, payload, salt, commitment, prev_hash, hash`

// ReadStream returns events of one stream.
func (s *Store) ReadStream(ctx context.Context, stream eventstore.Stream, after int64, limit int) ([]eventstore.Recorded, error) {
	return s.read(ctx, `
		SELECT `+Columns+`
		  FROM events
		 WHERE stream = $1 AND version > $2
		 ORDER BY version
		 LIMIT $3`, string(stream), after, pageSize(limit))
}

// ReadAll returns events of the whole log.
func (s *Store) ReadAll(ctx context.Context, after int64, limit int) ([]eventstore.Recorded, error) {
	return s.read(ctx, `
		SELECT `+Columns+`
		  FROM events
		 WHERE position > $1
		 ORDER BY position
		 LIMIT $2`, after, pageSize(limit))
}

// ReadFacts returns facts of the whole log: at most limit, and fewer when they are large.
func (s *Store) ReadFacts(ctx context.Context, after int64, limit int) ([]eventstore.Fact, error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	limit = pageSize(limit)
	rows, err := s.pool.Query(ctx, `
		SELECT `+factColumns+`
		  FROM events
		 WHERE position > $1
		 ORDER BY position
		 LIMIT $2`, inBinary, after, limit)
	if err != nil {
		return nil, unavailable(fmt.Errorf("read the log: %w", err))
	}
	defer rows.Close()
	if err := binaryOnly(rows); err != nil {
		return nil, err
	}
	var reader rowReader
	facts := make([]eventstore.Fact, 0, limit)
	for bytes := 0; bytes < pageBytes && rows.Next(); {
		f, err := reader.fact(rows.RawValues())
		if err != nil {
			return nil, err
		}
		bytes += len(f.Payload)
		facts = append(facts, f)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, unavailable(fmt.Errorf("read the log: %w", err))
	}
	return facts, nil
}

// ReadCompany returns events of one company, in the order of its own positions.
func (s *Store) ReadCompany(ctx context.Context, company domain.CompanyID, after int64, limit int) ([]eventstore.Recorded, error) {
	return s.read(ctx, `
		SELECT `+Columns+`
		  FROM events
		 WHERE company_id = $1 AND position > $2
		 ORDER BY company_position
		 LIMIT $3`, company.UUID, after, pageSize(limit))
}

// answerContext bounds a question: on a link that carries nothing, nobody waits longer than the database may take.
func (s *Store) answerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.opts.CallTimeout, errSilent)
}

func (s *Store) read(ctx context.Context, query string, args ...any) ([]eventstore.Recorded, error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, query, append([]any{inBinary}, args...)...)
	if err != nil {
		return nil, unavailable(fmt.Errorf("read the log: %w", err))
	}
	if err := binaryOnly(rows); err != nil {
		rows.Close()
		return nil, err
	}
	var reader rowReader
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (eventstore.Recorded, error) { return reader.recorded(row.RawValues()) })
	if err != nil {
		return nil, unavailable(fmt.Errorf("read the log: %w", err))
	}
	s.saw(events)
	return events, nil
}

// Head returns the end of the log.
func (s *Store) Head(ctx context.Context) (eventstore.Head, error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	h := eventstore.Head{Epoch: s.Epoch()}
	var now time.Time
	err := s.pool.QueryRow(ctx, `
		SELECT coalesce(max(e.position), 0), coalesce(max(e.recorded_at), 'epoch'), clock_timestamp()
		  FROM (SELECT position, recorded_at FROM events ORDER BY position DESC LIMIT 1) e`).
		Scan(&h.Position, &h.RecordedAt, &now)
	if err != nil {
		return eventstore.Head{}, unavailable(fmt.Errorf("read the log's end: %w", err))
	}
	s.clock.Observe(now)
	h.RecordedAt = h.RecordedAt.UTC()
	return h, nil
}

// FindCommand returns what an accepted command made.
func (s *Store) FindCommand(ctx context.Context, c eventstore.Command) (eventstore.AcceptedCommand, error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	var found eventstore.AcceptedCommand
	var request []byte
	err := s.pool.QueryRow(ctx, `SELECT request_hash, resource_id, position FROM commands WHERE scope = $1`, commandScope(&c)).
		Scan(&request, &found.Resource, &found.Position)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return eventstore.AcceptedCommand{}, eventstore.ErrNoCommand
	case err != nil:
		return eventstore.AcceptedCommand{}, unavailable(fmt.Errorf("find a command: %w", err))
	case !bytes.Equal(request, c.RequestHash[:]):
		return eventstore.AcceptedCommand{}, eventstore.ErrCommandReused
	}
	return found, nil
}

func pageSize(limit int) int {
	if limit <= 0 {
		return eventstore.PageSize
	}
	return limit
}
