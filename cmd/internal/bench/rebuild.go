package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/runner"
)

// rebuild measures how fast all read models are made anew from a long log, compared with the old ones and switched to; the
// floor is how fast Postgres gives the same rows away.
func rebuild(ctx context.Context, b *bench) (err error) {
	log, err := b.longLog(ctx)
	if err != nil {
		return err
	}
	store, err := pg.Open(ctx, log.pool, pg.Options{Logger: b.log})
	if err != nil {
		return err
	}
	defer store.Close()
	models := runner.New(log.pool, store, catalog.All(), runner.Options{Logger: b.log})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- models.Run(running) }()
	defer func() {
		stop()
		if ran := <-ended; !errors.Is(ran, context.Canceled) {
			err = errors.Join(err, ran)
		}
	}()
	if err := models.Wait(ctx, log.events); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "rebuild: the first build, with nothing to compare, made %.0f events/s\n", float64(log.events)/time.Since(began).Seconds())
	var rates, floors, ratios []float64
	var spent cpu
	for range min(b.sizes.rounds, longRounds) {
		floor, err := log.copyOut(ctx)
		if err != nil {
			return err
		}
		before, began := b.used(), time.Now()
		reports, err := models.Rebuild(ctx, nil, nil)
		if err != nil {
			return err
		}
		rate := float64(log.events) / time.Since(began).Seconds()
		spent = spent.plus(b.used().since(before))
		for _, r := range reports {
			if r.Differences > 0 || r.Parked > 0 {
				return fmt.Errorf("%s: %d differences, %d parked", r.Name, r.Differences, r.Parked)
			}
		}
		rates, floors, ratios = append(rates, rate), append(floors, floor), append(ratios, rate/floor)
	}
	fmt.Fprintf(os.Stderr, "rebuild: CPU for each event: %s\n", spent.per(float64(log.events)*float64(len(rates))))
	e := entry{Name: "rebuild/1m", Value: median(rates), Unit: "events/s"}.against(median(floors), median(ratios))
	b.report.add(e.atLeast(median(ratios), 0.4, "× floor"))
	return nil
}

// copyOut is the events per second of a COPY to nowhere.
func (l *millionLog) copyOut(ctx context.Context) (float64, error) {
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	began := time.Now()
	tag, err := conn.Conn().PgConn().CopyTo(ctx, io.Discard, `COPY events TO STDOUT (FORMAT binary)`)
	if err != nil {
		return 0, err
	}
	return float64(tag.RowsAffected()) / time.Since(began).Seconds(), nil
}
