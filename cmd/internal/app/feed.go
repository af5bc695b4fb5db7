package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/pg"
)

// startFeed reads the log once for this process and hands each event to those who only take note of it. They hear of what
// this process appends itself before that, at once.
//
// When the log has forked, the feed begins anew where the database says, and whoever watches is interrupted: what was read
// before may not be in the log any more, and other events have its places.
func (a *App) startFeed(ctx context.Context) error {
	a.hub = eventstore.NewHub()
	a.commands.Ledger().Heed(func(r eventstore.Recorded) {
		a.hub.Publish(r)
		if a.supervisor != nil {
			a.supervisor.Notify(r)
		}
		a.heardPlugin(r)
	})
	feed, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f, err := a.subscribe(feed)
	if err != nil {
		cancel()
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			err := f.follow(feed)
			if err == nil && feed.Err() == nil {
				a.log.Info("reading the log anew, since it has another epoch", "epoch", a.store.Epoch(), "epoch_before", f.epoch)
				a.hub.Interrupt()
				f, err = a.subscribe(feed)
			}
			switch {
			case feed.Err() != nil:
				return
			case err != nil:
				a.fail(err)
				return
			}
		}
	}()
	a.onStop("feed", func(context.Context) error {
		a.hub.Close()
		cancel()
		<-ended
		return nil
	})
	return nil
}

// subscription is the feed of one epoch of the log.
type subscription struct {
	app        *App
	epoch      int64
	subscriber *pg.Subscriber
	messages   <-chan *message.Message
}

func (a *App) subscribe(ctx context.Context) (*subscription, error) {
	f := &subscription{app: a, epoch: a.store.Epoch()}
	var err error
	if f.subscriber, err = a.store.Subscriber("process-" + a.process.Node.String()); err != nil {
		return nil, err
	}
	if f.messages, err = f.subscriber.Subscribe(ctx, pg.Topic); err != nil {
		return nil, fmt.Errorf("subscribe to the log: %w", err)
	}
	return f, nil
}

// follow passes on what comes, until the log has another epoch or ctx is done.
func (f *subscription) follow(ctx context.Context) error {
	for {
		changed := f.app.store.IdentityChanged()
		if ctx.Err() != nil || f.app.store.Epoch() != f.epoch {
			return f.subscriber.Close()
		}
		select {
		case m, open := <-f.messages:
			if !open {
				return f.subscriber.Close()
			}
			r, err := pg.FromMessage(m)
			if err != nil {
				return errors.Join(err, f.subscriber.Close())
			}
			f.app.commands.Ledger().Note(r)
			m.Ack()
		case <-changed:
		case <-ctx.Done():
		}
	}
}
