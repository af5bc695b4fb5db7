package docker

import (
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers"
)

// The labels of every container and volume.
const (
	labelRuntime      = "tenure.runtime"
	labelInstallation = "tenure.installation"
	labelLease        = "tenure.lease"
	labelEpoch        = "tenure.epoch"
	labelFence        = "tenure.fence"
	labelCreated      = "tenure.created"
	// labelProbe marks the container of a probe, which has no other label than the time.
	labelProbe = "tenure.probe"
)

// mark is what the labels say.
type mark struct {
	runtime, installation, lease string
	epoch, fence                 int64
	created                      time.Time
	// These are of a container: see hold.go.
	kept, released bool
	name           string
}

func (m mark) labels() map[string]string {
	return map[string]string{
		labelRuntime: m.runtime, labelInstallation: m.installation, labelLease: m.lease,
		labelEpoch: strconv.FormatInt(m.epoch, 10), labelFence: strconv.FormatInt(m.fence, 10),
		labelCreated: m.created.UTC().Format(time.RFC3339Nano),
	}
}

// readMark reports false for what is not ours, or what somebody marked as ours without knowing how.
func readMark(labels map[string]string) (mark, bool) {
	m := mark{runtime: labels[labelRuntime], installation: labels[labelInstallation], lease: labels[labelLease]}
	var err1, err2, err3 error
	m.epoch, err1 = strconv.ParseInt(labels[labelEpoch], 10, 64)
	m.fence, err2 = strconv.ParseInt(labels[labelFence], 10, 64)
	m.created, err3 = time.Parse(time.RFC3339Nano, labels[labelCreated])
	return m, m.runtime != "" && err1 == nil && err2 == nil && err3 == nil
}

func markOf(req drivers.AcquireRequest, now time.Time) mark {
	return mark{
		runtime: req.RuntimeID, installation: req.Installation, lease: req.LeaseID, epoch: req.Epoch, fence: req.Fence, created: now,
	}
}

// filterBy finds what carries these labels; a value that is "" is not asked for.
func filterBy(runtime, installation string) client.Filters {
	f := client.Filters{}
	if runtime != "" {
		f.Add("label", labelRuntime+"="+runtime)
	} else {
		f.Add("label", labelRuntime)
	}
	if installation != "" {
		f.Add("label", labelInstallation+"="+installation)
	}
	return f
}

// names are those of one runtime's things.
type names struct{ container, workspace, tmp, inner, own, fence string }

func namesOf(runtimeID string) names {
	base := "tenure-" + runtimeID
	return names{
		container: base, workspace: base + "-workspace", tmp: base + "-tmp", inner: base + "-inner", own: base + "-own",
		fence: base + "-fence-",
	}
}

// checkRuntimeID refuses an id that cannot be part of a container's name.
func checkRuntimeID(id string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
	if id != "" && len(id) <= 128 && strings.Trim(id, allowed) == "" {
		return nil
	}
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "bad_runtime_id", Step: "check_id", Err: errBadID,
		Remediation: "use an id of 1 to 128 letters, digits, '_', '.' and '-'",
	}
}
