package app

import (
	"context"
	"fmt"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/pg"
)

// startFeed reads the log once for this process and hands each event to those who only take note of it. They hear of what
// this process appends itself before that, at once.
func (a *App) startFeed(ctx context.Context) error {
	a.hub = eventstore.NewHub()
	a.commands.Ledger().Heed(func(r eventstore.Recorded) {
		a.hub.Publish(r)
		if a.supervisor != nil {
			a.supervisor.Notify(r)
		}
		a.heardPlugin(r)
	})
	subscriber, err := a.store.Subscriber("process-" + a.process.Node.String())
	if err != nil {
		return err
	}
	feed, cancel := context.WithCancel(context.WithoutCancel(ctx))
	messages, err := subscriber.Subscribe(feed, pg.Topic)
	if err != nil {
		cancel()
		return fmt.Errorf("subscribe to the log: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m := range messages {
			r, err := pg.FromMessage(m)
			if err != nil {
				a.fail(err)
				return
			}
			a.commands.Ledger().Note(r)
			m.Ack()
		}
	}()
	a.onStop("feed", func(context.Context) error {
		a.hub.Close()
		err := subscriber.Close()
		cancel()
		<-ended
		return err
	})
	return nil
}
