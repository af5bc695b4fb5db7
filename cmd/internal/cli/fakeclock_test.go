package cli_test

import (
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// renewLease moves the end of a lease, by the ttl if one is given.
func (f *fake) renewLease(r *http.Request) (int, any) {
	in := decode[wire.Renew](r)
	l := f.lease(r)
	switch {
	case l == nil:
		return notFound("lease")
	case l.Ended():
		return problem(http.StatusGone, "lease_ended", "the lease is "+l.Status)
	}
	f.change()
	end := f.now.Add(time.Hour)
	if in.TTL != nil {
		ttl, _ := time.ParseDuration(*in.TTL)
		hard := f.now.Add(ttl)
		l.HardExpiresAt = &hard
	}
	left := time.Hour.Milliseconds()
	l.ExpiresAt, l.RemainingMs = &end, &left
	return http.StatusOK, l
}

// clock is in doubt where there is a company named jumped, until it is confirmed.
func (f *fake) clock(r *http.Request) (int, any) {
	jumped := slices.ContainsFunc(f.companies, func(c *wire.Company) bool { return c.Name == "jumped" })
	f.confirmed = f.confirmed || r.Method == http.MethodPost || !jumped
	c := wire.Clock{Now: f.now, Sure: f.confirmed, RenewableAt: &f.now, LastGap: &wire.ClockGap{From: f.now.Add(-3 * time.Hour), To: f.now.Add(-2 * time.Hour), ShiftMs: 3_600_000}}
	worker := wire.ClockProcess{ID: uuid.MustParse("0190b1f2-0000-7000-8000-00000000000a"), Hostname: "h-1", Role: "worker", Sure: c.Sure}
	if !c.Sure {
		c.JumpMs, worker.JumpMs = 3_600_000, 3_600_000
	}
	c.Processes = []wire.ClockProcess{{ID: uuid.MustParse("0190b1f2-0000-7000-8000-00000000000b"), Hostname: "h-2", Role: "api", Sure: true}, worker}
	return http.StatusOK, c
}
