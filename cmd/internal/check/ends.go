package check

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/probe"
)

// ends: every lease ends at most once, and after that only its cleanup goes on. When the run has settled, every lease that was
// to end has, and nothing is claimed any more.
func ends(j *judge) {
	for _, l := range j.allLeases() {
		j.see(1)
		endsOnce(j, l)
		if j.Limits.Settled {
			settledLease(j, l)
		}
	}
	if j.Limits.Settled {
		settledOthers(j)
	}
}

func endsOnce(j *judge, l *leaseStory) {
	name := leaseName(l.id)
	if l.records[0] != l.requested {
		j.broken(name, "it does not begin with a request", l.records[0])
	}
	for _, again := range l.ends[min(1, len(l.ends)):] {
		j.broken(name, "it ends twice", l.ends[0], again)
	}
	end := l.ended()
	for _, r := range l.records {
		if l.releasing != nil && r.seq > l.releasing.seq && usedAfterRelease(r) {
			j.broken(name, "it is used after it was to be released", l.releasing, r)
		}
		if end != nil && r.seq > end.seq && !afterTheEnd(r) {
			j.broken(name, "it lives on after its end", end, r)
		}
	}
}

// usedAfterRelease reports whether an event says that somebody has or gets a lease that is being taken down.
func usedAfterRelease(r *record) bool {
	switch r.event.(type) {
	case lease.Granted, lease.ProvisioningStarted, lease.Provisioned, lease.Renewed, lease.ExpiryWarned, lease.ReleaseRequested, lease.Requested:
		return true
	}
	return false
}

// afterTheEnd reports whether an event may follow the end of a lease. A second end has a violation of its own.
func afterTheEnd(r *record) bool {
	switch r.event.(type) {
	case lease.ReleaseStarted, lease.ReleaseFailed, lease.CleanupCompleted, lease.Quarantined, lease.CleanupRetryRequested, lease.CleanupForced,
		lease.RetentionEnded, lease.RuntimePassed, lease.Disowned:
		return true
	case lease.Released, lease.Expired, lease.Canceled, lease.Failed, lease.Retained:
		return true
	}
	return false
}

// work is what is open of a lease.
type work struct {
	provisioning, teardown, failed *record
	// dirty says that something may exist outside: since when.
	dirty                *record
	quarantined, cleaned bool
}

// workOf follows a lease's claims.
func workOf(l *leaseStory) (w work) {
	for _, r := range l.records {
		switch e := r.event.(type) {
		case lease.ProvisioningStarted:
			w.provisioning, w.dirty = r, first(w.dirty, r)
		case lease.ProvisioningFailed, lease.ProvisioningAbandoned, lease.Provisioned:
			w.provisioning = nil
		case lease.ReleaseStarted:
			w.teardown = r
		case lease.ReleaseFailed:
			w.teardown, w.failed = nil, r
		case lease.Quarantined:
			w.quarantined = true
		case lease.CleanupRetryRequested:
			w.quarantined = false
		case lease.Released, lease.Expired, lease.Canceled, lease.CleanupCompleted:
			w.provisioning, w.teardown, w.cleaned = nil, nil, true
		case lease.Failed:
			w.provisioning, w.teardown, w.cleaned = nil, nil, !e.CleanupPending
		case lease.Retained:
			w.teardown, w.quarantined = nil, false
		case lease.RuntimePassed:
			w.cleaned = true
		case lease.CleanupForced, lease.Disowned:
			w.provisioning, w.teardown = nil, nil
		}
	}
	return w
}

func settledLease(j *judge, l *leaseStory) {
	name, w := leaseName(l.id), workOf(l)
	switch {
	case w.provisioning != nil:
		j.broken(name, "an attempt is still open", w.provisioning)
	case w.teardown != nil:
		j.broken(name, "a teardown is still open", w.teardown)
	case l.ended() == nil && l.releasing != nil && !w.quarantined:
		j.broken(name, "it was to be released and has not ended", l.releasing, w.failed)
	case l.ended() == nil && l.granted != nil && l.active == nil && !w.quarantined:
		j.broken(name, "it was granted and has come to nothing", l.granted)
	case l.ended() != nil && w.dirty != nil && !w.cleaned && l.kept == nil && !l.forced && !l.disowned && !w.quarantined:
		j.broken(name, "it has ended, and what it may have left is not taken down", l.ended(), w.failed)
	}
}

// settledOthers: nobody is at a command or a probe any more.
func settledOthers(j *judge) {
	for _, x := range j.allExecs() {
		j.see(1)
		if x.requested != nil && x.ended == nil {
			j.broken(execName(x.id), "it has not ended", x.requested, x.claimed, x.started)
		}
	}
	probes := map[uuid.UUID]*record{}
	for i := range j.records {
		r := &j.records[i]
		switch r.event.(type) {
		case probe.Claimed:
			probes[r.id] = r
		case probe.Completed:
			delete(probes, r.id)
		}
	}
	for _, r := range sorted(probes, func(r *record) int { return r.seq }) {
		j.broken(fmt.Sprintf("%s-%s", probe.Category, r.id), "its claim is still open", r)
	}
}
