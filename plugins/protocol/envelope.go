package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Invocation ties what a worker asks of the host to the call that it serves. The host sends it with every call that is for
// one company; the worker sends its ID back, or, if it is built on an old SDK, does not.
type Invocation struct {
	ID          string          `json:"id"`
	Scope       InvocationScope `json:"scope"`
	Traceparent string          `json:"traceparent,omitempty"`
}

// InvocationScope says whose data an invocation is about.
type InvocationScope struct {
	CompanyID string `json:"companyId"`
}

// Error is an error as the wire has it. A handler that returns one has it sent as it is; [Conn.Call] returns the peer's.
type Error struct {
	Code    int64           `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

func (e *Error) Error() string { return fmt.Sprintf("%s (code %d)", e.Message, e.Code) }

// Errorf returns an error for the wire.
func Errorf(code int64, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// MethodNotFound is the answer to a method that is not served.
func MethodNotFound(method string) *Error {
	return Errorf(CodeMethodNotFound, "method %q is not served here", method)
}

// incoming is any frame as it is read. What may be anything is left raw: a frame that is wrong in one place must still be
// answered or told from the others.
type incoming struct {
	JSONRPC      json.RawMessage `json:"jsonrpc"`
	ID           json.RawMessage `json:"id"`
	Method       *string         `json:"method"`
	Params       json.RawMessage `json:"params"`
	Result       json.RawMessage `json:"result"`
	Error        json.RawMessage `json:"error"`
	Invocation   json.RawMessage `json:"paperclipInvocation"`
	InvocationID json.RawMessage `json:"paperclipInvocationId"`
}

// frameKind says what a line is.
type frameKind int

const (
	kindJunk frameKind = iota
	kindRequest
	kindNotification
	kindReply
)

// parseFrame tells what a line is. For junk the error says why.
func parseFrame(line []byte) (incoming, frameKind, error) {
	var f incoming
	switch trimmed := bytes.TrimLeft(line, " \t\r"); {
	case len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[':
		return f, kindJunk, errors.New("it is no JSON object")
	case trimmed[0] == '[':
		return f, kindJunk, errors.New("batches are not part of this protocol")
	}
	if err := json.Unmarshal(line, &f); err != nil {
		// The text of the error may quote what was read, which may be anything.
		return incoming{}, kindJunk, errors.New("it is no JSON-RPC message")
	}
	if string(f.JSONRPC) != `"2.0"` {
		return f, kindJunk, errors.New(`it has no "jsonrpc":"2.0"`)
	}
	switch {
	case f.Method != nil && f.ID == nil:
		return f, kindNotification, nil
	case f.Method != nil && validID(f.ID):
		return f, kindRequest, nil
	case f.Method != nil:
		return f, kindJunk, errors.New("its id is neither a string nor a number")
	case f.Result != nil || f.Error != nil:
		return f, kindReply, nil
	default:
		return f, kindJunk, errors.New("it is neither a request nor a reply")
	}
}

// validID accepts the ids that JSON-RPC has: strings and numbers.
func validID(id json.RawMessage) bool {
	return len(id) > 0 && (id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9')
}

// parseError reads the error of a reply. Providers put anything into it; an error that cannot be read is still an error.
func parseError(raw json.RawMessage) *Error {
	if raw == nil || string(raw) == "null" {
		return nil
	}
	var loose struct {
		Code    any             `json:"code"`
		Message any             `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if json.Unmarshal(raw, &loose) != nil {
		return Errorf(CodeUnknown, "an error that is no JSON-RPC error")
	}
	e := &Error{Code: CodeUnknown, Data: loose.Data}
	if code, ok := loose.Code.(float64); ok && math.Abs(code) < 1<<53 {
		e.Code = int64(code)
	}
	if message, ok := loose.Message.(string); ok {
		e.Message = message
	} else {
		e.Message = "an error without a message"
	}
	if string(e.Data) == "null" {
		e.Data = nil
	}
	return e
}

// invocation reads the envelope's extensions; what is not as it should be is as if it were absent.
func (f *incoming) invocation() (*Invocation, string) {
	var inv *Invocation
	if f.Invocation != nil {
		var v Invocation
		if json.Unmarshal(f.Invocation, &v) == nil && v.ID != "" {
			inv = &v
		}
	}
	var id string
	if f.InvocationID != nil && json.Unmarshal(f.InvocationID, &id) != nil {
		id = ""
	}
	return inv, id
}

// outgoing is a frame as it is written. encoding/json escapes U+2028 and U+2029, also within raw parts, and takes line
// breaks out of them: a reader that splits lines as JavaScript does must see one line.
type outgoing struct {
	JSONRPC      string          `json:"jsonrpc"`
	ID           json.RawMessage `json:"id,omitempty"`
	Method       string          `json:"method,omitempty"`
	Params       any             `json:"params,omitempty"`
	Result       json.RawMessage `json:"result,omitempty"`
	Error        *Error          `json:"error,omitempty"`
	Invocation   *Invocation     `json:"paperclipInvocation,omitempty"`
	InvocationID string          `json:"paperclipInvocationId,omitempty"`
}

// encode makes the line of f, with its end.
func (f outgoing) encode() ([]byte, error) {
	f.JSONRPC = "2.0"
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}
