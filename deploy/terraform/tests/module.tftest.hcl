# terraform test: no account is needed, the provider is mocked.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
}

variables {
  vpc_id                     = "vpc-0123456789abcdef0"
  subnet_ids                 = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
  load_balancer_subnet_ids   = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
  router_image               = "router:1"
  function_arn               = "arn:aws:lambda:eu-west-1:123456789012:function:app:live"
  function_security_group_id = "sg-0123456789abcdef0"
}

run "defaults" {
  command = plan

  assert {
    condition     = aws_lb.this[0].internal
    error_message = "the load balancer is internal unless asked otherwise"
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.control) == 1
    error_message = "the control port without TLS is closed unless asked otherwise"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.throttles.dimensions["FunctionName"] == "app"
    error_message = "the qualifier is no part of the function's name"
  }
}

run "without_a_load_balancer" {
  command = plan
  variables {
    load_balancer = "none"
  }
  assert {
    condition     = length(aws_lb.this) == 0 && output.url == null
    error_message = "none means none"
  }
}

run "a_stop_timeout_that_fargate_does_not_know" {
  command = plan
  variables {
    stop_timeout = 300
  }
  expect_failures = [var.stop_timeout]
}
