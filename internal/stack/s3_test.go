package stack_test

import (
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tidemill/internal/stack"
)

func connectS3(a stack.S3) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(a.Endpoint), Region: a.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(a.AccessKey, a.SecretKey, ""),
	})
}

func writeS3(t *testing.T, a stack.Addresses) {
	client := connectS3(a.S3)
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("kept")}); err != nil {
		t.Fatal(err)
	}
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("kept"), Key: aws.String("a/b"), Body: strings.NewReader("value"),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func readS3(t *testing.T, a stack.Addresses) {
	object, err := connectS3(a.S3).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("kept"), Key: aws.String("a/b")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = object.Body.Close() }()
	if content, err := io.ReadAll(object.Body); err != nil || string(content) != "value" {
		t.Errorf("got %q, %v", content, err)
	}
}
