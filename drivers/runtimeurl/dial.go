package runtimeurl

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
)

// dial tries an item over connections from inside the runtime.
func (s *search) dial(ctx context.Context, it *item) {
	it.become(StatusNotTried, "")
	for _, a := range it.attempts {
		status, detail := s.dialAttempt(ctx, a)
		if it.status == StatusNotTried || status == StatusAnswered {
			it.become(status, detail)
		}
		if status == StatusAnswered || ctx.Err() != nil {
			return
		}
	}
}

func (s *search) dialAttempt(ctx context.Context, a attempt) (Status, string) {
	ctx, cancel := context.WithTimeout(ctx, s.perTry)
	defer cancel()
	// Not by the transport, which lets a dial go on when its request is over.
	conn, err := s.dialer.DialContext(ctx, "tcp", a.hostPort())
	if err != nil {
		return judgeDial(err)
	}
	defer conn.Close()
	transport := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.item.host, RootCAs: s.d.opts.RootCAs},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 8192,
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.item.scheme+"://"+a.item.authority+a.item.path, nil)
	if err != nil {
		return StatusInvalid, "is no URL for an HTTP request"
	}
	resp, err := client.Do(req)
	if err != nil {
		return judgeDial(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil && resp.StatusCode == http.StatusOK {
		return judgeDial(err)
	}
	return judgeAnswer(resp.StatusCode, string(body))
}

// judgeDial reads an error of a connection. A refusal by the far side comes as words only, for example over SSH.
func judgeDial(err error) (Status, string) {
	var timeout interface{ Timeout() bool }
	switch text := strings.ToLower(err.Error()); {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), strings.Contains(text, "timed out"):
		return StatusTimeout, ""
	case errors.As(err, &timeout) && timeout.Timeout():
		return StatusTimeout, ""
	case errors.Is(err, syscall.ECONNREFUSED), strings.Contains(text, "connection refused"):
		return StatusRefused, ""
	}
	return StatusUnreachable, clean(err.Error())
}
