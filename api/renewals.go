package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections/leases"
)

// duration is a span that a request may give, within bounds; otherwise where it gives none.
func duration(field, text string, otherwise, most time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, invalid("invalid_duration", field, "%q is not a duration", clip(text)).Mend("give a duration such as 90m or 24h, or leave it out")
	case d < time.Millisecond || d > most:
		return 0, invalid("invalid_duration", field, "is not between 1ms and %s", briefly(most)).
			Mend("give a duration such as %s, or leave it out", briefly(otherwise))
	}
	return d, nil
}

// given is a span that a request gives only to change something; "" is none.
func given(field string, text *string, example time.Duration) (*time.Duration, error) {
	if text == nil {
		return nil, nil //nolint:nilnil // nothing was given
	}
	if *text == "" {
		return nil, invalid("invalid_duration", field, "is empty").Mend("give a duration such as %s, or leave it out", briefly(example))
	}
	d, err := duration(field, *text, example, domain.MaxDuration)
	return &d, err
}

// maxTTLMs is what a request says of the longest lease of an environment; 0 for nothing.
func maxTTLMs(text *string) (int64, error) {
	d, err := given("maxTtl", text, environment.DefaultMaxTTL)
	if err != nil || d == nil {
		return 0, err
	}
	return d.Milliseconds(), nil
}

// briefly is a duration without the zeros at its end.
func briefly(d time.Duration) string {
	text := d.String()
	for _, zeros := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zeros) {
			text = text[:len(text)-len("0s")]
		}
	}
	return text
}

func shownDuration(ms int64) *string {
	if ms == 0 {
		return nil
	}
	text := briefly(time.Duration(ms) * time.Millisecond)
	return &text
}

// showLease is a lease as it is sent. Its end has moved by the times in which nobody could renew.
func (s *Server) showLease(id uuid.UUID, now leaseNow) wire.Lease {
	out := showLease(id, now)
	out.ExpiresAt = timeOrNull(s.deps.Commands.EndOf(now.State))
	return out
}

func (s *Server) showLeaseRow(r leases.Row) wire.Lease {
	return s.showLease(r.Data.ID.UUID, loaded(r.Head, r.Data.State))
}

func (s *Server) renewLease(c *call) error {
	var in wire.Renew
	if err := c.decode(&in, true); err != nil {
		return err
	}
	ttl, err := given("ttl", in.TTL, 2*time.Hour)
	if err != nil {
		return err
	}
	if err := c.requireFence(); err != nil {
		return err
	}
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	o, err := s.deps.Commands.RenewLease(c.ctx(), by, domain.LeaseID{UUID: c.id}, commands.Renewal{TTL: ttl})
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	now, err := look(c, commands.Leases, c.id, o.Changed)
	if err != nil {
		return err
	}
	return s.answerLease(c, http.StatusOK, o, now, func(l *wire.Lease) {
		var remaining int64
		if l.ExpiresAt != nil {
			remaining = max(l.ExpiresAt.Sub(s.deps.Commands.Ledger().Now()).Milliseconds(), 0)
		}
		l.RemainingMs = &remaining
	})
}
