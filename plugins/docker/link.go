package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/containerd/errdefs/pkg/errhttp"

	"github.com/tenure-dev/tenure/drivers/execparent"
)

// link is the connection of an exec. The engine sends both outputs of the parent on it, in frames of its own; the parent's
// standard output is what Read returns, and of its standard error the end is kept.
type link struct {
	conn net.Conn
	demux
}

// attach starts an exec and takes over its connection. The client's own way of doing so drops the engine's reason when it
// refuses, such as that there are no processes left in the container.
func (e *engine) attach(ctx context.Context, execID string) (_ *link, err error) {
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Close() // ends what is under way here
		close(closed)
	})
	defer func() {
		if !stop() {
			<-closed
			err = context.Cause(ctx)
		}
		if err != nil {
			_ = conn.Close()
		}
	}()
	const body = `{"Detach":false,"Tty":false}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/v"+e.ClientVersion()+"/exec/"+execID+"/start", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, answerOf(resp)
	}
	return &link{conn: conn, demux: demux{r: r}}, nil
}

// dial connects to the engine. The client's dialer does not look at ctx where TLS is spoken.
func (e *engine) dial(ctx context.Context) (net.Conn, error) {
	type dialed struct {
		conn net.Conn
		err  error
	}
	answer := make(chan dialed, 1)
	go func() {
		conn, err := e.Dialer()(ctx)
		answer <- dialed{conn, err}
	}()
	select {
	case a := <-answer:
		return a.conn, a.err
	case <-ctx.Done():
		go func() {
			if a := <-answer; a.err == nil {
				_ = a.conn.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// answerError is a refusal of the engine.
type answerError struct {
	message string
	kind    error
}

func (e *answerError) Error() string { return "the engine refused: " + e.message }

func (e *answerError) Unwrap() error { return e.kind }

func answerOf(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16*1024))
	if err != nil {
		return err
	}
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(b, &said) != nil || said.Message == "" {
		said.Message = resp.Status
	}
	return &answerError{message: said.Message, kind: errhttp.ToNative(resp.StatusCode)}
}

// Write implements [execparent.Link].
func (l *link) Write(p []byte) (int, error) { return l.conn.Write(p) }

// Close implements [execparent.Link].
func (l *link) Close() error { return l.conn.Close() }

// demux takes the engine's framing off: one byte for the stream, three of zero, the length (32 bits, big-endian).
type demux struct {
	r    *bufio.Reader
	left int // of the frame at hand, which is of standard output

	mu    sync.Mutex
	words []byte
}

const (
	streamStdout = 1
	streamStderr = 2
	// streamError is the engine's own word that the stream broke.
	streamError = 3
	muxHeader   = 8
	maxWords    = 2048
)

// Read returns standard output.
func (d *demux) Read(p []byte) (int, error) {
	for d.left == 0 {
		var header [muxHeader]byte
		if _, err := io.ReadFull(d.r, header[:]); err != nil {
			return 0, err // io.EOF only between two frames
		}
		size := int(binary.BigEndian.Uint32(header[4:]))
		if header[1]|header[2]|header[3] != 0 {
			return 0, errors.New("the engine sent no frame")
		}
		switch header[0] {
		case streamStdout:
			d.left = size
		case streamStderr, streamError:
			if err := d.keep(size); err != nil {
				return 0, err
			}
			if header[0] == streamError {
				return 0, errors.New("the engine broke the stream")
			}
		default:
			return 0, errors.New("the engine sent a frame of an unknown stream")
		}
	}
	n, err := d.r.Read(p[:min(len(p), d.left)])
	d.left -= n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// keep reads size bytes and keeps the last ones.
func (d *demux) keep(size int) error {
	buf := make([]byte, min(size, maxWords))
	for size > 0 {
		n, err := d.r.Read(buf[:min(size, len(buf))])
		size -= n
		d.mu.Lock()
		d.words = append(d.words, buf[:n]...)
		if len(d.words) > maxWords {
			d.words = append(d.words[:0], d.words[len(d.words)-maxWords:]...)
		}
		d.mu.Unlock()
		if err != nil {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// Words implements [execparent.Link].
func (d *demux) Words() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.words)
}

var _ execparent.Link = (*link)(nil)
