package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

var _ vault.Table = (*Store)(nil)

// SettleKeys calls judge with every key that the database knows, while no other process can do the same, and adds what it
// returns.
func (s *Store) SettleKeys(ctx context.Context, judge func([]vault.Known) ([]vault.Known, error)) error {
	var judged error
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `LOCK TABLE vault_keys IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT id, check_value, host, destroyed_at IS NOT NULL
			  FROM vault_keys
			 ORDER BY added_at, id`)
		if err != nil {
			return err
		}
		known, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k vault.Known, err error) {
			return k, row.Scan(&k.ID, &k.Check, &k.Host, &k.Destroyed)
		})
		if err != nil {
			return err
		}
		var add []vault.Known
		if add, judged = judge(known); judged != nil {
			return judged
		}
		for _, k := range add {
			_, err := tx.Exec(ctx, `INSERT INTO vault_keys (id, check_value, host) VALUES ($1, $2, $3)`, k.ID, k.Check, k.Host)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if judged != nil {
		return judged
	}
	return unavailable(wrap(err, "settle the keys of the database"))
}

// DestroyKey notes that a key is given up, unless something is still sealed with it: then used is true.
func (s *Store) DestroyKey(ctx context.Context, id uint32) (used bool, err error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		WITH used AS (
		  SELECT EXISTS (SELECT FROM inputs WHERE substring(value FROM 1 FOR 6) = '\x0101'::bytea || substring(int8send($1) FROM 5)) AS yes
		), done AS (
		  UPDATE vault_keys SET destroyed_at = clock_timestamp()
		   WHERE id = $1 AND destroyed_at IS NULL AND NOT (SELECT yes FROM used)
		)
		SELECT yes FROM used`, int64(id)).Scan(&used)
	return used, unavailable(wrap(err, "destroy a key"))
}

// ListInputs returns values kept beside the log with an id above after, in order.
func (s *Store) ListInputs(ctx context.Context, after uuid.UUID, limit int) ([]eventstore.Input, error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT id, company_id, subject, value
		  FROM inputs
		 WHERE id > $1
		 ORDER BY id
		 LIMIT $2`, after, limit)
	if err != nil {
		return nil, unavailable(fmt.Errorf("list inputs: %w", err))
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (eventstore.Input, error) { return scanInput(row) })
	return list, unavailable(wrap(err, "list inputs"))
}

// ReplaceInput puts another value in the place of one kept beside the log, if that is still the old one.
func (s *Store) ReplaceInput(ctx context.Context, id uuid.UUID, old, value []byte) (done bool, err error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `UPDATE inputs SET value = $3 WHERE id = $1 AND value = $2`, id, old, value)
	return err == nil && tag.RowsAffected() > 0, unavailable(wrap(err, "replace an input"))
}

// ReadInput returns a value kept beside the log.
func (s *Store) ReadInput(ctx context.Context, id uuid.UUID) (eventstore.Input, error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	in, err := scanInput(s.pool.QueryRow(ctx, `SELECT id, company_id, subject, value FROM inputs WHERE id = $1`, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return eventstore.Input{}, eventstore.ErrNoInput
	}
	return in, unavailable(wrap(err, "read an input"))
}

func scanInput(row pgx.Row) (in eventstore.Input, err error) {
	var company uuid.UUID
	err = row.Scan((*[16]byte)(&in.ID), (*[16]byte)(&company), (*string)(&in.Subject), &in.Value)
	in.Company = domain.CompanyID{UUID: company}
	return in, err
}
