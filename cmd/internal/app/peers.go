package app

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/drivers/journal"
	"github.com/tenure-dev/tenure/eventstore"
)

// peers knows the processes of this log by what only they have: the keyset. A token is for one path and about now by the
// database's clock; it gives nothing that a reading key would not.
type peers struct{ a *App }

var _ api.Internal = peers{}

// tokenAge is how far the time in a token may be off: processes estimate the database's clock.
const tokenAge = time.Minute

func (p peers) token(path string) string {
	at := p.a.store.Clock().Now().Unix()
	return strconv.FormatInt(at, 10) + "." + p.sign(path, at)
}

func (p peers) sign(path string, at int64) string {
	sum := p.a.commands.Vault().Hash([]byte("internal call"), []byte(path), binary.BigEndian.AppendUint64(nil, uint64(at)))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Verify implements [api.Internal].
func (p peers) Verify(path, token string) bool {
	stamp, signature, _ := strings.Cut(token, ".")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || p.a.store.Clock().Now().Sub(time.Unix(at, 0)).Abs() > tokenAge {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(signature), []byte(p.sign(path, at))) == 1
}

// outputs opens the journals of this node, and by their processes those of others.
type outputs struct{ a *App }

var _ api.OutputReader = outputs{}

// OpenOutput begins at an offset.
func (o outputs) OpenOutput(ctx context.Context, of api.OutputPlace, offset int64) (api.Output, error) {
	if of.Node.IsZero() || of.Node == o.a.process.Node {
		r, err := journal.Open(o.a.journalDir(of.Exec), offset)
		if err != nil {
			return nil, err
		}
		return output{r}, nil
	}
	address, err := o.reach(ctx, of.Node)
	if err != nil {
		return nil, err
	}
	r := &remote{ctx: ctx, peers: peers(o), address: address, path: api.InternalOutput(of.Exec), offset: offset}
	return r, r.ask()
}

// reach finds the living process of a node.
func (o outputs) reach(ctx context.Context, node domain.NodeID) (address string, err error) {
	list, err := o.a.processes.ForReaders().List(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range list {
		if p.Node == node && p.Alive && p.Role != eventstore.RoleAPI {
			return p.Address, nil
		}
	}
	return "", api.ErrNodeAway
}

// output is one of this node.
type output struct{ *journal.Reader }

// Next implements [api.Output].
func (o output) Next() (api.OutputFrame, error) {
	f, err := o.Reader.Next()
	if err != nil {
		return api.OutputFrame{}, err
	}
	return api.OutputFrame{Offset: f.Offset, Stream: f.Stream.String(), At: f.At, Data: f.Data, Dropped: f.Dropped}, nil
}

// remote is an output on another node. Each time it has come to the end of what there was it asks again, from where it is.
type remote struct {
	ctx           context.Context //nolint:containedctx // it is that of the reader's call, whose Next has none
	peers         peers
	address, path string
	offset        int64
	// gaps are those that were delivered at the offset.
	gaps    int64
	body    io.ReadCloser
	decoder *json.Decoder
}

// line is a line of the answer.
type line struct {
	wire.OutputLine
	api.InternalEnd
}

// peerClient speaks to other processes. They are on the same network, so one that does not take up a call soon is away.
var peerClient = &http.Client{Transport: &http.Transport{
	DialContext: dialer(connectLimit).DialContext, ResponseHeaderTimeout: answerLimit, MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute,
}}

func (r *remote) ask() error {
	query := fmt.Sprintf("?offset=%d&gaps=%d", r.offset, r.gaps)
	request, err := http.NewRequestWithContext(r.ctx, http.MethodGet, "http://"+r.address+r.path+query, http.NoBody)
	if err != nil {
		return fmt.Errorf("%w: its address %q is none", api.ErrNodeAway, r.address)
	}
	request.Header.Set(api.HeaderInternal, r.peers.token(r.path))
	answer, err := peerClient.Do(request)
	if err != nil {
		// Not wrapped: an error of this link is none of the database's.
		return fmt.Errorf("%w: %s", api.ErrNodeAway, err.Error())
	}
	if answer.StatusCode == http.StatusOK {
		r.body, r.decoder = answer.Body, json.NewDecoder(answer.Body)
		return nil
	}
	_ = answer.Body.Close() // what it says more is for its own log
	if answer.StatusCode == http.StatusNotFound {
		return fs.ErrNotExist
	}
	return fmt.Errorf("%w: it answers %s", api.ErrNodeAway, answer.Status)
}

// Next implements [api.Output].
func (r *remote) Next() (api.OutputFrame, error) {
	if r.body == nil {
		if err := r.ask(); err != nil {
			return api.OutputFrame{}, err
		}
	}
	var l line
	if err := r.decoder.Decode(&l); err != nil {
		r.forget()
		return api.OutputFrame{}, fmt.Errorf("%w: its answer was cut: %s", api.ErrNodeAway, err.Error())
	}
	if l.End {
		r.forget()
		return api.OutputFrame{}, io.EOF
	}
	if end := l.Offset + int64(len(l.Data)); end > r.offset {
		r.offset, r.gaps = end, 0
	} else {
		r.gaps++
	}
	return api.OutputFrame{Offset: l.Offset, Stream: l.Stream, At: l.At, Data: l.Data, Dropped: l.Dropped}, nil
}

// forget ends the present answer; read to its end, its connection is used again.
func (r *remote) forget() {
	_, _ = io.CopyN(io.Discard, r.body, 1<<10)
	_ = r.body.Close() // only read
	r.body = nil
}

// Close implements [api.Output].
func (r *remote) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
