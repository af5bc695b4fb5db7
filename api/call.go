package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// call is a request on its way to an answer.
type call struct {
	echo.Context
	server    *Server
	route     route
	request   uuid.UUID
	principal access.Principal
	// id is that of the thing which the path names first, owner its company.
	id    uuid.UUID
	owner domain.CompanyID
	body  []byte
}

func (c *call) ctx() context.Context { return c.Request().Context() }

// param is a path parameter in the clear. The router matches the path as it was sent, so that a run's id may hold a slash.
func (c *call) param(name string) (string, error) {
	raw := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return raw, nil
	}
	clear, err := url.PathUnescape(raw)
	if err != nil {
		return "", invalid("invalid_path", name, "is not escaped as URLs are").Mend("escape it as a part of a URL's path")
	}
	return clear, nil
}

func (c *call) pathID(name string) error {
	raw, err := c.param(name)
	if err != nil {
		return err
	}
	if c.id, err = uuid.Parse(raw); err != nil {
		return invalid("invalid_id", name, "%q is not an id", clip(raw)).Mend("give the id as a UUID, such as %s", uuid.Max)
	}
	return nil
}

func clip(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}

// by is who gives a command.
func (c *call) by() commands.Caller {
	return commands.Caller{By: eventstore.Attribution{Actor: c.principal.ID, Key: c.principal.Key, Request: c.request}}
}

// caller is who gives a command, and the command's identity if the client gave it one. resource is what it makes or acts on.
func (c *call) caller(company domain.CompanyID, resource uuid.UUID) (commands.Caller, error) {
	by := c.by()
	given, ok, err := c.idempotencyKey()
	if err != nil || !ok {
		return by, err
	}
	by.Command = &eventstore.Command{
		Company: company, Route: c.route.method + " " + c.route.path, Key: given, RequestHash: c.requestHash(), Resource: resource,
	}
	return by, nil
}

const maxIdempotencyKey = 255

func (c *call) idempotencyKey() (key string, given bool, err error) {
	values := c.Request().Header.Values(wire.HeaderIdempotencyKey)
	if len(values) == 0 {
		return "", false, nil
	}
	key = values[0]
	if len(values) > 1 || key == "" || len(key) > maxIdempotencyKey || strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return "", false, invalid("invalid_header", wire.HeaderIdempotencyKey, "is not one text of 1 to %d printable ASCII characters", maxIdempotencyKey).
			Mend("use a UUID for each command, and the same one to repeat it")
	}
	return key, true, nil
}

// requestHash tells whether a repeated command asks for the same. It is stored, and the body may hold a secret that is short
// enough to be guessed; so it is a keyed hash. What only says how long the answer may wait is no part of the request.
func (c *call) requestHash() [32]byte {
	target := c.Request().URL.EscapedPath()
	query := c.Request().URL.Query()
	query.Del("wait")
	query.Del("minPosition")
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	return c.server.deps.Commands.Vault().Hash([]byte(c.route.method), []byte(target), c.body)
}

// done settles a command's outcome. A command that changed nothing was not stored, so a repetition of one that did is looked
// for here.
func (c *call) done(by commands.Caller, o eventstore.Outcome, err error) (eventstore.Outcome, error) {
	if err != nil {
		return o, err
	}
	if !o.Changed && !o.Replayed && by.Command != nil {
		found, err := c.server.deps.Commands.Ledger().Store().FindCommand(c.ctx(), *by.Command)
		switch {
		case err == nil:
			o.Replayed, o.Resource = true, found.Resource
		case !errors.Is(err, eventstore.ErrNoCommand):
			return o, err
		}
	}
	if o.Replayed {
		c.Response().Header().Set(wire.HeaderReplayed, "true")
	}
	if o.Changed || o.Replayed {
		c.accepted()
	}
	return o, nil
}

// accepted notes that the call's command is in the log, so that nothing that goes wrong from here on is taken for its refusal.
func (c *call) accepted() { c.Set(keyDone, true) }

// made is the resource of a command that makes one: the first one's, if the command is a repetition.
func made(o eventstore.Outcome, id uuid.UUID) uuid.UUID {
	if o.Replayed {
		return o.Resource
	}
	return id
}

// wait is how long the client wants to wait; ok says whether it does. More than the limit is cut to it.
func (c *call) wait() (d time.Duration, ok bool, err error) {
	for _, header := range c.Request().Header.Values("Prefer") {
		for _, preference := range strings.Split(header, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue // RFC 7240: a preference that is not known is ignored
			}
			d, err = c.seconds("Prefer", value)
			return d, err == nil, err
		}
	}
	return 0, false, nil
}

func (c *call) seconds(field, value string) (time.Duration, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
	if err != nil || n < 0 {
		return 0, invalid("invalid_wait", field, "%q is not a number of seconds", clip(value)).
			Mend("give whole seconds, at most %d", int(c.server.deps.Limits.MaxWait.Seconds()))
	}
	return min(time.Duration(n)*time.Second, c.server.deps.Limits.MaxWait), nil
}

// number is a query parameter that is not negative; 0 when it is absent.
func (c *call) number(name string) (int64, error) { return number(name, c.QueryParam(name)) }

func number(field, value string) (int64, error) {
	if value == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, invalid("invalid_parameter", field, "%q is not a number from 0", clip(value)).Mend("give a whole number, or leave it out")
	}
	return n, nil
}

func (c *call) flag(name string) (bool, error) {
	value := c.QueryParam(name)
	if value == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, invalid("invalid_parameter", name, "%q is neither true nor false", clip(value)).Mend("give true or false, or leave it out")
	}
	return b, nil
}

// limit is how many items a page has.
func (c *call) limit(most int) (int, error) {
	n, err := c.number("limit")
	if err == nil && n > int64(most) {
		err = invalid("invalid_parameter", "limit", "is more than %d", most).Mend("ask for at most %d, and for the next page after that", most)
	}
	return int(n), err
}

// only refuses a query parameter that the route does not know: a filter with a typing error would otherwise
// pick everything.
func (c *call) only(known ...string) error {
	for name := range c.QueryParams() {
		if !slices.Contains(known, name) {
			return invalid("unknown_parameter", name, "is no parameter of this route").Mend("leave it out, or use one of: %s", strings.Join(known, ", "))
		}
	}
	return nil
}

// minPosition waits until a read model shows the position that the client asks for.
func (c *call) minPosition(model string) error {
	given, field := c.QueryParam("minPosition"), "minPosition"
	if given == "" {
		given, field = c.Request().Header.Get(wire.HeaderMinPosition), wire.HeaderMinPosition
	}
	position, err := number(field, given)
	if err != nil || position == 0 {
		return err
	}
	return c.awaitModel(model, position)
}

// awaitModel waits until a read model shows a position.
func (c *call) awaitModel(model string, position int64) error {
	ctx, cancel := context.WithTimeoutCause(c.ctx(), c.server.deps.Limits.ReadModelWait, errBehind)
	defer cancel()
	defer context.AfterFunc(c.server.background, cancel)()
	err := c.server.deps.Projections.Wait(ctx, position, model)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errBehind):
		return errBehind
	case err != nil && c.server.background.Err() != nil:
		return errClosing
	}
	return err
}

var errBehind = errors.New("the read model is behind")

// answer sends a thing.
func (c *call) answer(status int, body any) error {
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(c.server.deps.Limits.WriteTimeout))
	return c.JSON(status, body)
}

// answerThing sends a single thing with its version as ETag.
func (c *call) answerThing(status int, version int64, body any) error {
	c.Response().Header().Set("ETag", `"`+strconv.FormatInt(version, 10)+`"`)
	return c.answer(status, body)
}

// ifMatch is the version that a change applies to; 0 for any.
func (c *call) ifMatch() (int64, error) {
	value := strings.TrimSpace(c.Request().Header.Get("If-Match"))
	if value == "" || value == "*" {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 64)
	if err != nil || n < 1 {
		return 0, invalid("invalid_header", "If-Match", "%q is not an ETag of this server", clip(value)).Mend("send the ETag of the thing as you read it")
	}
	return n, nil
}

// fence is the lease's as the client knows it; given is false when it does not say.
func (c *call) fence() (fence int64, given bool, err error) {
	text := c.Request().Header.Get(wire.HeaderFence)
	fence, err = number(wire.HeaderFence, text)
	return fence, text != "", err
}

// requiredFence is [call.fence] of a call that only the holder of a lease may make (RFC 6585, section 3).
func (c *call) requiredFence() (int64, error) {
	fence, given, err := c.fence()
	if err == nil && !given {
		refusal := invalid("fence_required", wire.HeaderFence, "is missing").
			Mend("send the fence of the lease that you hold: it is in the answer to the acquire, and in the lease")
		err = &statusError{err: refusal, refusal: refusal, status: http.StatusPreconditionRequired}
	}
	return fence, err
}

func invalid(code, field, format string, args ...any) *domain.Refusal {
	return domain.Refuse(domain.KindInvalid, code, format, args...).On(field)
}
