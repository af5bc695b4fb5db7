package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// oneOutcome: calls with the same key are one command. All that were acknowledged were told the same thing, one append at most
// has it, and after an acknowledgement nobody is refused.
func oneOutcome(j *judge) {
	calls := map[command][]*Call{}
	var order []command
	for i := range j.Calls {
		c := &j.Calls[i]
		if c.Key == "" {
			continue
		}
		if calls[c.command()] == nil {
			order = append(order, c.command())
		}
		calls[c.command()] = append(calls[c.command()], c)
	}
	for _, k := range order {
		j.see(1)
		group := calls[k]
		slices.SortStableFunc(group, func(a, b *Call) int { return a.Sent.Compare(b.Sent) })
		lost := slices.ContainsFunc(group, func(c *Call) bool { return j.lostAny(c) })
		appendOfKey(j, group, lost)
		if !lost {
			answersAgree(j, group)
		}
	}
}

// appendOfKey: one append is by calls with the key. After a fork that lost it there may be another one.
func appendOfKey(j *judge, group []*Call, lost bool) {
	if group[0].Verb == VerbReleaseRun || lost {
		return
	}
	var led *record
	for _, c := range group {
		for _, r := range j.requests[c.Request] {
			if led != nil && r.AppendID != led.AppendID {
				j.broken("key "+c.Key, c.String()+": another append is by this key already", led, r)
				return
			}
			led = r
		}
	}
}

func answersAgree(j *judge, group []*Call) {
	var acknowledged *Call
	// A command that changed nothing, such as a renewal soon after another one, is not remembered.
	remembered := slices.ContainsFunc(group, func(c *Call) bool { return len(j.requests[c.Request]) > 0 })
	for _, c := range group {
		if c.done() && (acknowledged == nil || c.Answered.Before(acknowledged.Answered)) {
			acknowledged = c
		}
	}
	if acknowledged == nil {
		return
	}
	for _, c := range group {
		switch {
		case c == acknowledged:
		case c.done() && c.outcome() != acknowledged.outcome():
			j.broken("key "+c.Key, fmt.Sprintf("%s was told %s; %s was told %s", acknowledged, acknowledged.outcome(), c, c.outcome()))
		case remembered && c.refused() && c.Sent.After(acknowledged.Answered) && c.Code != "unauthorized":
			j.broken("key "+c.Key, fmt.Sprintf("%s was acknowledged; then %s was refused", acknowledged, c))
		}
	}
}

// outcome is what a command made or acted on.
func (c *Call) outcome() uuid.UUID {
	switch c.Verb {
	case VerbAcquire:
		return c.Answer.Lease
	case VerbExec:
		return c.Answer.Exec
	case VerbKill, VerbRenew, VerbRelease, VerbCancel, VerbReleaseRun, VerbShowLease, VerbShowExec, VerbOther:
	}
	return cmp.Or(c.Exec, c.Lease)
}
