// A front before the simulators, which speak plain HTTP on loopback: TLS, by names. What is sent to pPORT.named.test or pPORT.hosts.test
// on the front's port goes to 127.0.0.1:PORT.
//
//	go run deploy/runs/front.go FOLDER NAMESERVER
//
// FOLDER gets ca.crt, the only authority that vouches for these names, and then `port`. NAMESERVER, such as 127.0.53.53:53, knows the
// former names, and that they are 127.0.0.1; of the latter it knows nothing. Runs until its standard input ends.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const named, hosts = "named.test", "hosts.test"

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: front FOLDER NAMESERVER"))
	}
	authority, certificate := certificates()
	names, err := net.ListenPacket("udp4", os.Args[2])
	must(err)
	front, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	must(err)
	tell := func(name string, content []byte) { must(os.WriteFile(filepath.Join(os.Args[1], name), content, 0o644)) }
	tell("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority}))
	tell("port", []byte(fmt.Sprintln(front.Addr().(*net.TCPAddr).Port)))
	go answer(names)
	go func() {
		for {
			client, err := front.Accept()
			must(err)
			go relay(client.(*tls.Conn))
		}
	}()
	_, err = io.Copy(io.Discard, os.Stdin)
	must(err)
}

// An authority, and a certificate by it for all the names.
func certificates() ([]byte, tls.Certificate) {
	from, until := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	root := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "simulators"}, NotBefore: from, NotAfter: until,
		DNSNames: []string{"*." + named, "*." + hosts}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	authority, err := x509.CreateCertificate(rand.Reader, &root, &root, &rootKey.PublicKey, rootKey)
	must(err)
	certificate, err := x509.CreateCertificate(rand.Reader, &leaf, &root, &leafKey.PublicKey, rootKey)
	must(err)
	return authority, tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: leafKey}
}

// One connection's whole life, as bytes: whatever is HTTP in them is the simulator's business.
func relay(client *tls.Conn) {
	defer client.Close()
	if client.Handshake() != nil {
		return // who does not trust us goes away
	}
	port := regexp.MustCompile(`^p(\d+)\.`).FindStringSubmatch(client.ConnectionState().ServerName)
	if port == nil {
		return
	}
	server, err := net.Dial("tcp4", "127.0.0.1:"+port[1])
	if err != nil {
		return
	}
	defer server.Close()
	over := make(chan struct{}, 2)
	pour := func(to io.Writer, from io.Reader) {
		// whichever side ends, both do
		_, _ = io.Copy(to, from)
		over <- struct{}{}
	}
	go pour(server, client)
	go pour(client, server)
	<-over
}

// The name server: an address for each name that it knows, none of IPv6, and of other names it says that they do not exist.
func answer(names net.PacketConn) {
	query := make([]byte, 512)
	for {
		size, from, err := names.ReadFrom(query)
		must(err)
		name, end := question(query[:size])
		if end == 0 {
			continue
		}
		const address, internet, notThere = 1, 1, 3
		reply := append([]byte{}, query[:end]...)
		copy(reply[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
		kind := int(query[end-4])<<8 | int(query[end-3])
		switch {
		case !strings.HasSuffix(name, "."+named+"."):
			reply[3] |= notThere
		case kind == address:
			reply[7] = 1
			// the name is that at byte 12; for a minute
			reply = append(reply, 0xc0, 12, 0, address, 0, internet, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
		}
		_, err = names.WriteTo(reply, from)
		must(err)
	}
}

// The one name that a query asks for, and where its question ends; 0 when that is not to be found.
func question(query []byte) (string, int) {
	name := ""
	for at := 12; at < len(query); {
		length := int(query[at])
		switch {
		case length == 0 && at+5 <= len(query):
			return name, at + 5
		case length == 0 || length > 63 || at+1+length > len(query):
			return "", 0
		}
		name += strings.ToLower(string(query[at+1:at+1+length])) + "."
		at += 1 + length
	}
	return "", 0
}

func must(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "front:", err)
	os.Exit(1)
}
