// Package poms holds the Maven poms that name the jars of each Java server.
package poms

import (
	"embed"
	"fmt"
)

//go:embed */pom.xml
var files embed.FS

// Read returns the pom of a server: zookeeper, kafka or cassandra.
func Read(server string) ([]byte, error) {
	pom, err := files.ReadFile(server + "/pom.xml")
	if err != nil {
		return nil, fmt.Errorf("read the pom of %s: %w", server, err)
	}
	return pom, nil
}
