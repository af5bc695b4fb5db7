package execution

import "github.com/tenure-dev/tenure/domain"

// Command is what may be asked of an execution.
type Command interface{ executionCommand() }

// Request asks to run a command.
type Request struct{ Requested Requested }

// Claim takes it for a worker, once and for all.
type Claim struct {
	Worker domain.WorkerID
	// Node is that of the worker.
	Node domain.NodeID
}

// Start says that the worker that claimed it started it. Saying the same again changes nothing.
type Start struct {
	Worker  domain.WorkerID
	Started Started
}

// RequestKill asks to end it. One that nobody claimed ends at once; asking again changes nothing.
type RequestKill struct {
	By  domain.PrincipalID
	Why string
}

// Finish is the end as its worker saw it, with the seal of the output: one without the other is refused.
type Finish struct {
	Worker       domain.WorkerID
	Ended        Ended
	OutputSealed *OutputSealed
}

// Abandon ends one whose worker is gone: as unknown, with its output lost. Doing so again changes nothing.
type Abandon struct{ Why string }

// Refuse ends one that nobody claimed and nobody will, such as one whose lease ended. Doing so again changes nothing.
type Refuse struct{ Stage, Code, Message string }

func (Request) executionCommand()     {}
func (Claim) executionCommand()       {}
func (Start) executionCommand()       {}
func (RequestKill) executionCommand() {}
func (Finish) executionCommand()      {}
func (Abandon) executionCommand()     {}
func (Refuse) executionCommand()      {}
