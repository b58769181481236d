package standalone

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

const scanManifests = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: scan, namespace: default }
spec:
  gatewayClassName: portcullis
  listeners:
  - { name: ecdsa, port: %[1]d, protocol: HTTPS, hostname: ecdsa.test, tls: { certificateRefs: [{ name: ecdsa }] } }
  - { name: rsa, port: %[1]d, protocol: HTTPS, hostname: rsa.test, tls: { certificateRefs: [{ name: rsa }] } }
`

// strong are the cipher suites of TLS 1.2 that are accepted, by the key of the certificate.
var strong = map[string][]uint16{
	"ecdsa.test": {
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	},
	"rsa.test": {
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	},
}

// TestTLSScan looks for what scanners of servers look for: old versions, weak suites, groups and signatures, compression,
// heartbeats, and the protections of TLS 1.2 against downgrades and renegotiation.
func TestTLSScan(t *testing.T) {
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	serve(t, documents(gatewayClass, newCertificate(t, ecdsaKey, "ecdsa.test").secret("ecdsa"),
		newCertificate(t, rsaKey, "rsa.test").secret("rsa"), fmt.Sprintf(scanManifests, port)))
	address := fmt.Sprintf("127.0.0.1:%d", port)

	for name, suites := range strong {
		t.Run(name, func(t *testing.T) {
			scanVersions(t, address, name)
			for _, suite := range suites {
				t.Run("accepts/"+tls.CipherSuiteName(suite), func(t *testing.T) {
					if answer := (hello{name: name, suites: []uint16{suite}}).send(t, address); !answer.accepted() {
						t.Errorf("refused: %v", answer)
					}
				})
			}
			scanRefusals(t, address, name, suites)
			scanAnswer(t, address, name, suites)
		})
	}
}

func scanVersions(t *testing.T, address, name string) {
	for version, accepted := range map[uint16]bool{
		tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true,
	} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{
				ServerName: name, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
			}}
			connection, err := dialer.Dial("tcp", address)
			if err == nil {
				connection.Close()
			}
			if (err == nil) != accepted {
				t.Errorf("accepted %v, want %v: %v", err == nil, accepted, err)
			}
		})
	}
}

func scanRefusals(t *testing.T, address, name string, accepted []uint16) {
	for what, offer := range map[string]hello{
		"SSL 3.0":               {version: 0x0300, suites: accepted},
		"every other suite":     {suites: allBut(accepted)},
		"groups below 256 bits": {suites: accepted, groups: []uint16{1, 3, 19, 21}},
		"finite-field groups":   {suites: accepted, groups: []uint16{256, 257}},
		"signatures of SHA-1":   {suites: accepted, signatures: []uint16{0x0201, 0x0202, 0x0203}},
		"signatures of MD5":     {suites: accepted, signatures: []uint16{0x0101}},
		"no null compression":   {suites: accepted, compressions: []byte{1}},
		"TLS 1.1 as a fallback": {version: tls.VersionTLS11, suites: append([]uint16{tls.TLS_FALLBACK_SCSV}, accepted...)},
		"no suite at all":       {suites: []uint16{}},
	} {
		t.Run("refuses/"+what, func(t *testing.T) {
			offer.name = name
			if answer := offer.send(t, address); answer.accepted() {
				t.Errorf("accepted with suite %#04x", answer.suite)
			}
		})
	}
	t.Run("refuses/SSL 2.0", func(t *testing.T) {
		// A CLIENT-HELLO of SSL 2.0: one suite, a challenge of 16 bytes.
		content := append([]byte{1, 0, 2, 0, 3, 0, 0, 0, 16, 1, 0, 0x80}, make([]byte, 16)...)
		if answer := exchange(t, address, append([]byte{0x80, byte(len(content))}, content...)); answer.accepted() {
			t.Error("accepted")
		}
	})
}

func scanAnswer(t *testing.T, address, name string, accepted []uint16) {
	const heartbeat, extendedMasterSecret, renegotiation = 15, 23, 0xff01
	answer := (hello{name: name, suites: accepted, compressions: []byte{1, 0}}).send(t, address)
	if !answer.accepted() {
		t.Fatalf("refused: %v", answer)
	}
	if answer.compression != 0 {
		t.Errorf("compression %d is chosen", answer.compression)
	}
	if answer.extensions[heartbeat] {
		t.Error("heartbeats are accepted")
	}
	if !answer.extensions[extendedMasterSecret] {
		t.Error("the extended master secret is not confirmed (RFC 7627)")
	}
	if !answer.extensions[renegotiation] {
		t.Error("secure renegotiation is not indicated (RFC 5746)")
	}
	if !bytes.HasSuffix(answer.random, []byte("DOWNGRD\x01")) {
		t.Error("the random of TLS 1.2 does not say that TLS 1.3 is spoken (RFC 8446, 4.1.3)")
	}
}

// allBut is every registered number of a suite of TLS 1.2 and before, and those that were drafts, without these.
func allBut(accepted []uint16) []uint16 {
	var suites []uint16
	for _, numbers := range [][2]uint16{{0x0000, 0x00c7}, {0xc001, 0xc0ff}, {0xcc13, 0xcc15}, {0xcca8, 0xccae}, {0xd001, 0xd005}, {0xfee0, 0xfeff}} {
		for suite := numbers[0]; suite <= numbers[1]; suite++ {
			if !slices.Contains(accepted, suite) {
				suites = append(suites, suite)
			}
		}
	}
	return suites
}

// hello is a ClientHello, with what is sensible where a field is empty.
type hello struct {
	name               string
	version            uint16
	suites             []uint16
	groups, signatures []uint16
	compressions       []byte
}

func (h hello) send(t *testing.T, address string) answer {
	t.Helper()
	if h.version == 0 {
		h.version = tls.VersionTLS12
	}
	if h.groups == nil {
		h.groups = []uint16{uint16(tls.X25519), uint16(tls.CurveP256), uint16(tls.CurveP384)}
	}
	if h.signatures == nil {
		h.signatures = []uint16{uint16(tls.ECDSAWithP256AndSHA256), uint16(tls.PSSWithSHA256), uint16(tls.PKCS1WithSHA256)}
	}
	if h.compressions == nil {
		h.compressions = []byte{0}
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random)
	name := append([]byte{0}, sized(2, []byte(h.name))...)
	extensions := bytes.Join([][]byte{
		extension(0, sized(2, name)),
		extension(10, sized(2, encode(h.groups))),
		extension(11, []byte{1, 0}),
		extension(13, sized(2, encode(h.signatures))),
		extension(15, []byte{1}),
		extension(23, nil),
		extension(0xff01, []byte{0}),
	}, nil)
	body := bytes.Join([][]byte{
		encode([]uint16{h.version}), random, {0}, sized(2, encode(h.suites)), sized(1, h.compressions), sized(2, extensions),
	}, nil)
	message := append([]byte{1}, sized(3, body)...)
	return exchange(t, address, append([]byte{22, 3, 1}, sized(2, message)...))
}

func extension(kind uint16, content []byte) []byte {
	return append(encode([]uint16{kind}), sized(2, content)...)
}

func encode(numbers []uint16) []byte {
	var bytes []byte
	for _, number := range numbers {
		bytes = binary.BigEndian.AppendUint16(bytes, number)
	}
	return bytes
}

// sized puts the length before the content, in so many bytes.
func sized(width int, content []byte) []byte {
	length := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	return append(length[4-width:], content...)
}

// answer is what came for a ClientHello: a ServerHello, or nothing but an alert and the end.
type answer struct {
	server      bool
	alert       string
	suite       uint16
	compression byte
	random      []byte
	extensions  map[uint16]bool
}

func (a answer) accepted() bool { return a.server }

func (a answer) String() string { return a.alert }

func exchange(t *testing.T, address string, message []byte) answer {
	t.Helper()
	connection, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(patience))
	if _, err := connection.Write(message); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 5)
	if _, err := io.ReadFull(connection, head); err != nil {
		var network net.Error
		if errors.As(err, &network) && network.Timeout() {
			t.Fatal("neither an answer nor an end")
		}
		return answer{alert: "the connection was closed"}
	}
	content := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(connection, content); err != nil {
		t.Fatal(err)
	}
	const alert, handshake, serverHello = 21, 22, 2
	switch {
	case head[0] == alert:
		return answer{alert: fmt.Sprintf("alert %v", content)}
	case head[0] != handshake || content[0] != serverHello:
		t.Fatalf("neither an alert nor a ServerHello: record %v, content %v", head, content[:min(8, len(content))])
	}
	return parseServerHello(content[4:])
}

// parseServerHello reads the body of a ServerHello. One that is cut short panics, which fails the test.
func parseServerHello(body []byte) answer {
	result := answer{server: true, random: body[2:34], extensions: map[uint16]bool{}}
	body = body[35+int(body[34]):]
	result.suite, result.compression = binary.BigEndian.Uint16(body), body[2]
	for body = body[5:]; len(body) >= 4; body = body[4+int(binary.BigEndian.Uint16(body[2:])):] {
		result.extensions[binary.BigEndian.Uint16(body)] = true
	}
	return result
}
