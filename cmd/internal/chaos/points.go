package main

// points are where processes are held up, which is when they are stopped, or end themselves: within an append (its events are
// sent, and the answer has not been read), before and after it, around calls of drivers, and within the feed.
var points = map[verb][]string{
	verbAPI: {
		"append.sent:LeaseRequested", "append.sent:LeaseReleaseRequested", "append.sent:LeaseRenewed", "append.sent:ExecRequested",
		"append.before:LeaseRequested", "append.after:LeaseRequested", "append.before:LeaseReleaseRequested", "append.after:ExecRequested",
		"append.sent:LeaseCanceled", "feed.ack.before",
	},
	verbWorker: {
		"append.sent:LeaseProvisioningStarted", "append.sent:LeaseProvisioned", "append.sent:LeaseReleaseStarted", "append.sent:LeaseReleased",
		"append.sent:ExecClaimed", "append.sent:ExecEnded", "append.sent:LeaseExpired", "append.sent:LeaseRetained",
		"append.before:LeaseProvisioned", "append.after:LeaseProvisioningStarted", "append.before:LeaseReleased", "append.after:LeaseReleaseStarted",
		"driver.acquire.before", "driver.acquire.after", "driver.release.before", "driver.release.after", "driver.exec_start.before",
		"driver.exec_start.after", "driver.keep.before", "driver.keep.after", "driver.resume.before", "driver.resume.after", "reap.listed",
	},
}
