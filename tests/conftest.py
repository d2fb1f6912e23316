pytest_plugins = ["tests.postgres_fixtures", "tests.s3_fixtures", "tests.service_fixtures"]
