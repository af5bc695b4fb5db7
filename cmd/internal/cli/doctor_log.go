package cli

import (
	"context"
	"strings"

	"github.com/tenure-dev/tenure/api/wire"
)

// log says whether the log waits for its adoption, and whether a failover could lose events.
func (d *examination) log(ctx context.Context) {
	l, err := d.c.Log(ctx)
	if err != nil {
		d.trouble("log", err)
		return
	}
	if l.State == wire.LogForked {
		d.say("log", findFail, adviceOf(l), "it has forked, so nothing is driven; found: %s; at most %d events are lost", strings.Join(foundOf(l), "; "), l.LostAtMost)
	} else {
		d.say("log", findOK, "", "in force, epoch %d", l.Epoch)
	}
	if l.Standbys > 0 && l.SynchronousStandbys == "" {
		d.say("replication", findWarn, "set synchronous_standby_names in the database, so that a commit waits for a standby",
			"%d standbys follow the database and none is synchronous: a failover may lose events that were acknowledged, and grant a slot twice", l.Standbys)
	}
}
