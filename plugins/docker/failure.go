package docker

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers"
)

var (
	errBadID  = errors.New("the runtime id is not usable as the name of a container")
	errNotOur = errors.New("a container of this runtime's name does not belong to it")
)

// failed says of an error of the engine what it is and whether the same request may be made again. Since the container's
// name keeps a second one from being made, it may be whenever another answer is possible.
func failed(ctx context.Context, step string, err error) *drivers.Failure {
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		return f
	}
	const lookAtEngine = "see whether the Docker engine works: docker info"
	f := &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: "engine_error", Step: step, Err: err, Remediation: lookAtEngine + ", and its log",
	}
	// What the client says of a canceled request tells less than why it was canceled.
	canceled := ctx.Err() != nil && !isAnswer(err)
	if canceled {
		err = context.Cause(ctx)
	}
	switch limit, isLimit := errors.AsType[*limitError](err); {
	case isLimit:
		f.Code, f.Remediation, f.Err = "engine_timeout", lookAtEngine+", or raise timeoutMs", limit
	case errors.Is(err, context.DeadlineExceeded):
		f.Code, f.Remediation, f.Err = "engine_timeout", lookAtEngine, err
	case canceled, errors.Is(err, context.Canceled):
		f.Code, f.Remediation, f.Err = "canceled", "ask again, if it is still wanted", err
	case errors.Is(err, fs.ErrPermission):
		f.Code, f.Remediation = "engine_forbidden", "let the worker's user use the engine's socket, or name another host"
	case isUntrusted(err):
		f.Code, f.Remediation = "engine_untrusted", "correct the certificates for Docker engines that this server was started with, or the host in the configuration"
	case client.IsErrConnectionFailed(err), isNetwork(err):
		f.Code, f.Remediation = "engine_unreachable", "start the Docker engine, or correct the host in the configuration"
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		f.Code, f.Outcome, f.Remediation = "engine_forbidden", drivers.OutcomeDefinite, "let this server use the engine"
	case strings.Contains(err.Error(), "no space left on device"):
		f.Code, f.Remediation = "disk_full", "free some space under the engine's data root: docker system df"
	case says(err, "unable to find user", "unable to find group"):
		f.Code, f.Outcome, f.Remediation = "user_not_found", drivers.OutcomeDefinite, userRemedy
	case errdefs.IsNotFound(err):
		f.Code = "not_found"
	case errdefs.IsConflict(err):
		f.Code = "conflict"
	case errdefs.IsInvalidArgument(err), errdefs.IsNotImplemented(err):
		f.Code, f.Outcome = "engine_refused", drivers.OutcomeDefinite
		f.Remediation = "correct the environment's configuration, or use an engine with API 1.40 (Docker 19.03) or newer"
	}
	return f
}

// notAsked says of a retryable failure that the engine was not asked for a container.
func notAsked(err error) error {
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		f.NothingMade = f.Outcome == drivers.OutcomeRetryable
	}
	return err
}

const userRemedy = "name a user of the image, or one by its number, in config.user"

// isAnswer reports whether the engine answered, rather than the request failed.
func isAnswer(err error) bool {
	return errdefs.IsNotFound(err) || errdefs.IsConflict(err) || errdefs.IsInvalidArgument(err) || errdefs.IsInternal(err) ||
		errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) || errdefs.IsNotImplemented(err)
}

// isUntrusted reports whether this end or the other refused a certificate.
func isUntrusted(err error) bool {
	_, refused := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	return refused || alert || says(err, "remote error: tls:", "http response to https client")
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}
