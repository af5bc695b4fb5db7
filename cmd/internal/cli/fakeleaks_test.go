package cli_test

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// stick lets a lease be one that could not be taken down: a release with the message "stick" does it.
func (f *fake) stick(l *wire.Lease) {
	f.change()
	at, failed, why := f.now, "failed", "busy: still in use"
	l.Status, l.CleanupStatus, l.CleanupError = wire.LeasePendingCleanup, &failed, &why
	l.Cleanup = &wire.Cleanup{Attempts: 12, NextTryAt: &at, LastError: &why, Quarantined: true}
	company, lease := l.CompanyID, l.ID
	f.leaks = append(f.leaks, &wire.Leak{
		ID: f.newID(), CompanyID: &company, LeaseID: &lease, Driver: "local", Provider: "local", Why: "quarantined", Status: wire.LeakOpen,
		FirstSeen: at, FoundAt: at, Failure: &why, Version: 1,
	})
}

func (f *fake) retryCleanup(r *http.Request) (int, any) {
	l := f.lease(r)
	switch {
	case l == nil:
		return notFound("lease")
	case l.Status != wire.LeasePendingCleanup:
		return problem(http.StatusConflict, "nothing_to_clean", "the lease is "+l.Status)
	}
	l.Cleanup.Quarantined, l.Cleanup.NextTryAt = false, nil
	return http.StatusAccepted, l
}

func (f *fake) forceCleanup(r *http.Request) (int, any) {
	l := f.lease(r)
	switch {
	case l == nil:
		return notFound("lease")
	case l.Status != wire.LeasePendingCleanup:
		return problem(http.StatusConflict, "not_stuck", "the lease is "+l.Status)
	}
	f.end(l, wire.LeaseReleased)
	l.Cleanup.Forced, l.Cleanup.Quarantined, l.Cleanup.NextTryAt = true, false, nil
	return http.StatusOK, l
}

func (f *fake) listLeaks(r *http.Request) (int, any) {
	out := wire.List[*wire.Leak]{Items: []*wire.Leak{}, Position: f.position}
	for _, l := range f.leaks {
		if status := r.URL.Query().Get("status"); status == "all" || l.Status == status || status == "" && l.Status == wire.LeakOpen {
			out.Items = append(out.Items, l)
		}
	}
	return http.StatusOK, out
}

func (f *fake) clearLeak(r *http.Request) (int, any) {
	l := find(f.leaks, r, func(l *wire.Leak) uuid.UUID { return l.ID })
	if l == nil {
		return notFound("leak")
	}
	f.change()
	at, proof, reason := f.now, "person", decode[wire.ClearLeak](r).Reason
	l.Status, l.ClearedAt, l.Proof, l.Reason = wire.LeakCleared, &at, &proof, &reason
	return http.StatusOK, l
}

func (f *fake) balance(*http.Request) (int, any) {
	out := wire.Balance{Created: int64(len(f.leases)), LostRuntimes: []wire.LostRuntime{}}
	for _, l := range f.leases {
		switch {
		case l.HeartbeatRunID == "lost":
			out.Lost++
		case l.Ended():
			out.Destroyed++
		default:
			out.Held++
		}
	}
	return http.StatusOK, out
}
