package jobs

import (
	"strings"
	"testing"
)

func TestConnectionsAreFoundByName(t *testing.T) {
	c := Connections{Kafka: map[string]KafkaConnection{"default": {Brokers: []string{"k:9092"}}, "blue": {}}}
	if conn, err := c.KafkaNamed("default"); err != nil || conn.Brokers[0] != "k:9092" {
		t.Errorf("%v, %v", conn, err)
	}
	_, err := c.KafkaNamed("green")
	if err == nil || !IsPermanent(err) || !strings.Contains(err.Error(), `["blue" "default"]`) {
		t.Errorf("an unknown name: %v", err)
	}
	if _, err := c.S3Named("default"); err == nil || !strings.Contains(err.Error(), "connections.s3") {
		t.Errorf("a system without connections: %v", err)
	}
}
