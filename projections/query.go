package projections

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenure-dev/tenure/eventstore"
)

// DB is where the tables are; a pgx pool is one.
type DB interface {
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
}

// What can happen to a question.
var (
	// ErrCursor: the cursor is none that a list gave out.
	ErrCursor = errors.New("the cursor is not one of this list")
	// ErrNotBuilt: the read model has no table yet; its first build is under way.
	ErrNotBuilt = errors.New("the read model is not built yet")
)

// Limits of a page.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Options say which part of a list is wanted.
type Options struct {
	// Limit is how many rows at most; 0 is [DefaultLimit], and more than [MaxLimit] is cut to it.
	Limit int
	// After is the Next of the page before; "" starts at the beginning.
	After string
}

// Page is a part of a list.
type Page[R any] struct {
	Items []Row[R]
	// Next continues the list; "" at its end.
	Next string
	// Position is how far in the log the read model was at this answer.
	Position int64
}

// Order is the order of a list, by when things began.
type Order bool

// The orders.
const (
	OldestFirst Order = false
	NewestFirst Order = true
)

// Question asks for the rows of a read model that meet conditions.
type Question struct {
	conditions []string
	args       []any
}

// Where adds a condition; $ stands for the argument.
func (q *Question) Where(condition string, arg any) {
	q.args = append(q.args, arg)
	q.conditions = append(q.conditions, strings.ReplaceAll(condition, "$", "$"+strconv.Itoa(len(q.args))))
}

// Either adds that one of two conditions holds.
func (q *Question) Either(a string, argA any, b string, argB any) {
	q.Where("("+a, argA)
	q.Where(b+")", argB)
	n := len(q.conditions)
	q.conditions = append(q.conditions[:n-2], q.conditions[n-2]+" OR "+q.conditions[n-1])
}

// And adds a condition without an argument.
func (q *Question) And(condition string) { q.conditions = append(q.conditions, condition) }

func (q *Question) where() string {
	if len(q.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(q.conditions, " AND ")
}

// List answers with a page of rows in the order in which the things began.
func (d *Definition[R]) List(ctx context.Context, db DB, q Question, order Order, opts Options) (Page[R], error) {
	limit := opts.Limit
	switch {
	case limit <= 0:
		limit = DefaultLimit
	case limit > MaxLimit:
		limit = MaxLimit
	}
	if opts.After != "" {
		after, err := d.place(opts.After)
		if err != nil {
			return Page[R]{}, err
		}
		if order == NewestFirst {
			q.Where("created < $", after)
		} else {
			q.Where("created > $", after)
		}
	}
	by := "created"
	if order == NewestFirst {
		by = "created DESC"
	}
	rows, position, err := d.Rows(ctx, db, q, by, limit+1)
	if err != nil {
		return Page[R]{}, err
	}
	page := Page[R]{Items: rows, Position: position}
	if len(rows) > limit {
		page.Items = rows[:limit]
		page.Next = d.cursor(rows[limit-1].Created)
	}
	return page, nil
}

func (d *Definition[R]) cursor(created int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(d.Name + ":" + strconv.FormatInt(created, 10)))
}

func (d *Definition[R]) place(cursor string) (int64, error) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, ErrCursor
	}
	name, place, _ := strings.Cut(string(raw), ":")
	created, err := strconv.ParseInt(place, 10, 64)
	if err != nil || name != d.Name {
		return 0, ErrCursor
	}
	return created, nil
}

// Rows answers with rows in the given order, and how far the read model was. A limit of 0 is none.
func (d *Definition[R]) Rows(ctx context.Context, db DB, q Question, orderBy string, limit int) ([]Row[R], int64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, errSilent)
	defer cancel()
	var found []Row[R]
	position, err := Snapshot(ctx, db, d.Key(), func(tx pgx.Tx, table string) error {
		query := "SELECT " + RowColumns + " FROM " + table + q.where() + " ORDER BY " + orderBy
		if limit > 0 {
			query += " LIMIT " + strconv.Itoa(limit)
		}
		rows, err := tx.Query(ctx, query, q.args...)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, d.scan)
		return err
	})
	return found, position, err
}

func (d *Definition[R]) scan(row pgx.CollectableRow) (Row[R], error) {
	head, data, err := ScanRow(row)
	if err != nil {
		return Row[R]{}, err
	}
	r, err := d.decode(head, data)
	if err != nil {
		return Row[R]{}, err
	}
	return *r, nil
}

// ScanRow reads one row of [RowColumns].
func ScanRow(row pgx.CollectableRow) (head Head, data []byte, err error) {
	err = row.Scan((*string)(&head.Stream), &head.Created, &head.Version, &head.Position, &data)
	return head, data, err
}

// tries bounds how often a question is asked again because the table it was sent to is gone: that takes two rebuilds
// between two statements.
const tries = 3

// Snapshot asks the live table of a read model and returns its position, both as of one moment, whatever rebuilds do
// meanwhile.
func Snapshot(ctx context.Context, db DB, key Key, ask func(tx pgx.Tx, table string) error) (position int64, err error) {
	for range tries {
		position, err = snapshot(ctx, db, key, ask)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != undefinedTable {
			break
		}
	}
	if err != nil {
		return 0, unavailable(fmt.Errorf("ask read model %s: %w", key, err))
	}
	return position, nil
}

const undefinedTable = "42P01"

// answerLimit is how long a question may take. On a link that carries nothing it would wait for ever, and hold a connection
// that others need once the database is back.
const answerLimit = 4 * time.Second

var errSilent = errors.New("the database did not answer in time")

func snapshot(ctx context.Context, db DB, key Key, ask func(tx pgx.Tx, table string) error) (position int64, err error) {
	tx, err := db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var generation int64
	err = tx.QueryRow(ctx, `
		SELECT p.generation, c.position
		  FROM projection_pointers p
		  JOIN projection_checkpoints c ON c.name = p.name AND c.revision = p.revision AND c.generation = p.generation
		 WHERE p.name = $1 AND p.revision = $2`, key.Name, key.Revision).Scan(&generation, &position)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNotBuilt
	}
	if err != nil {
		return 0, err
	}
	if err := ask(tx, key.Table(generation)); err != nil {
		return 0, err
	}
	return position, tx.Commit(ctx)
}

// unavailable wraps errors of the link to the database, so that callers can tell them from answers.
func unavailable(err error) error {
	if _, answered := errors.AsType[*pgconn.PgError](err); answered ||
		errors.Is(err, ErrNotBuilt) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, link := errors.AsType[*pgconn.ConnectError](err); link || pgconn.SafeToRetry(err) {
		return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, err)
	}
	return err
}
