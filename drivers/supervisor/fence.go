package supervisor

import "github.com/tenure-dev/tenure/domain"

// fenceIn is the fence by which a lease acts on its runtime in an epoch of the log: its own, or, if it was granted in an earlier epoch,
// one above all of those. The end of that epoch may be lost, with the grant of a newer holder, whom the runtime still has on record. The
// log, as it was adopted, says that the runtime is this lease's; without this it could never be taken down. Every lease of the new epoch
// has a larger one.
//
// epoch is to be read before the claim that the act is part of. Then a claim of the former epoch acts by the lease's own fence only, and
// what comes late of it yields to whoever has the runtime now.
func fenceIn(epoch, fence int64) int64 { return max(fence, epoch<<domain.FenceBits) }
