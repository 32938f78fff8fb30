package stack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Credentials and region of every S3 server started here. They guard nothing: it listens on
// loopback only, and holds what its starter puts there.
const (
	s3AccessKey = "tidemill"
	s3SecretKey = "tidemill-secret"
	s3Region    = "us-east-1"
)

func s3Recipe(versitygw string, at place, dir string) (recipe, error) {
	root := filepath.Join(dir, "data")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return recipe{}, err
	}
	address := net.JoinHostPort(at.host(1), strconv.Itoa(at.ports.S3))
	return recipe{
		name: "s3", address: address, dir: dir,
		argv: []string{versitygw, "--port", address, "--region", s3Region, "--quiet",
			"posix", "--file-perms", "0600", "--dir-perms", "0700", root},
		// It waits 10 s for any client that is connected and says nothing; its objects are files,
		// whole as soon as they have their names.
		grace: 2 * time.Second,
		env:   []string{"ROOT_ACCESS_KEY=" + s3AccessKey, "ROOT_SECRET_KEY=" + s3SecretKey},
		ready: func(ctx context.Context) error { return probeS3(ctx, address) },
	}, nil
}

// probeS3 lists the buckets: it also proves that the credentials hold.
func probeS3(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + address), Region: s3Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s3AccessKey, s3SecretKey, ""),
		Retryer:     aws.NopRetryer{},
		// A connection kept open would outlive the question.
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	if _, err := client.ListBuckets(ctx, &s3.ListBucketsInput{}); err != nil {
		return fmt.Errorf("ask S3 at %s: %w", address, err)
	}
	return nil
}
