package apptest_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

// oldPostgres listens on loopback and speaks the protocol of a server that cannot be installed beside the tests' own: it
// says that it is a PostgreSQL 13, or refuses every password. It answers the question for its version and nothing else.
type oldPostgres struct {
	port int
	// refuse makes it refuse every password.
	refuse   bool
	listener net.Listener
	group    sync.WaitGroup

	mu    sync.Mutex
	asked []string
}

func newOldPostgres(t *testing.T, refuse bool) *oldPostgres {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &oldPostgres{port: listener.Addr().(*net.TCPAddr).Port, refuse: refuse, listener: listener}
	p.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.group.Go(func() {
				defer conn.Close()
				_ = p.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.group.Wait()
	})
	return p
}

// statements are what it was asked.
func (p *oldPostgres) statements() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *oldPostgres) serve(conn net.Conn) error {
	b := pgproto3.NewBackend(conn, conn)
	if ended, err := p.greet(conn, b); ended || err != nil {
		return err
	}
	columns := &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{
		{Name: []byte("version"), DataTypeOID: 23, DataTypeSize: 4, TypeModifier: -1},
		{Name: []byte("schema"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1},
	}}
	for {
		message, err := b.Receive()
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.Parse:
			p.mu.Lock()
			p.asked = append(p.asked, m.Query)
			p.mu.Unlock()
			b.Send(&pgproto3.ParseComplete{})
			if !strings.Contains(m.Query, "server_version_num") {
				b.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "0A000", Message: "unexpected statement"})
			}
		case *pgproto3.Describe:
			if m.ObjectType == 'S' {
				b.Send(&pgproto3.ParameterDescription{})
			}
			b.Send(columns)
		case *pgproto3.Bind:
			b.Send(&pgproto3.BindComplete{})
		case *pgproto3.Execute:
			b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("130012"), []byte("public")}})
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		case *pgproto3.Sync:
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			if err := b.Flush(); err != nil {
				return err
			}
		case *pgproto3.Terminate:
			return nil
		}
	}
}

// greet is the start of a session.
func (p *oldPostgres) greet(conn net.Conn, b *pgproto3.Backend) (ended bool, err error) {
	for {
		message, err := b.ReceiveStartupMessage()
		if err != nil {
			return true, err
		}
		if _, tls := message.(*pgproto3.SSLRequest); !tls {
			break
		}
		if _, err := conn.Write([]byte{'N'}); err != nil {
			return true, err
		}
	}
	if p.refuse {
		b.Send(&pgproto3.AuthenticationCleartextPassword{})
		if err := b.Flush(); err != nil {
			return true, err
		}
		if err := b.SetAuthType(pgproto3.AuthTypeCleartextPassword); err != nil {
			return true, err
		}
		if _, err := b.Receive(); err != nil {
			return true, err
		}
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: `password authentication failed for user "tenure"`})
		return true, b.Flush()
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "13.12"})
	b.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	b.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return false, b.Flush()
}
