# terraform test: no account is needed, the provider is mocked.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/role" }
  }
  mock_resource "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/lambda-dispatch" }
  }
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/ld/0123456789abcdef" }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/ld/0123456789abcdef" }
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
    condition     = keys(aws_cloudwatch_metric_alarm.this) == keys(local.alarms)
    error_message = "with a load balancer and the router's metrics every alarm is made"
  }
  assert {
    condition     = one(one(aws_cloudwatch_metric_alarm.this["Throttled"].metric_query).metric).dimensions["FunctionName"] == "app"
    error_message = "the qualifier is no part of the function's name"
  }
  assert {
    condition = alltrue([
      for query in aws_cloudwatch_metric_alarm.this["Rejects"].metric_query :
      query.return_data == (query.expression != null)
    ])
    error_message = "the alarm looks at the expression, not at the figures in it"
  }
  assert {
    condition     = one(aws_ecs_service.router.alarms).alarm_names == toset(["lambda-dispatch-ServerErrors"])
    error_message = "a deployment that raises 5xx is rolled back"
  }
}

run "healthy_once_ready" {
  command = apply
  assert {
    condition = jsondecode(aws_ecs_task_definition.router.container_definitions)[0].healthCheck == {
      command     = ["CMD", "lambda-dispatch", "healthcheck", "http://127.0.0.1:5001/health?ready"]
      interval    = 5
      timeout     = 3
      retries     = 3
      startPeriod = 180
    }
    error_message = "a task is healthy once the router is ready"
  }
  assert {
    condition     = aws_lb_target_group.router[0].health_check[0].path == "/health?ready"
    error_message = "a target is healthy once the router is ready"
  }
  assert {
    condition     = aws_ecs_service.router.health_check_grace_period_seconds == 180
    error_message = "a new router has three minutes"
  }
}

run "without_a_load_balancer" {
  command = plan
  variables {
    load_balancer = "none"
  }
  assert {
    condition     = length(aws_lb.this) == 0 && output.url == null && length(aws_ecs_service.router.alarms) == 0
    error_message = "none means none"
  }
  assert {
    condition     = toset([for name in keys(aws_cloudwatch_metric_alarm.this) : local.alarms[name].source]) == toset(["router", "lambda"])
    error_message = "there is nothing to look at of a load balancer"
  }
}

run "without_the_routers_metrics" {
  command = plan
  variables {
    settings = { cloud_watch_metrics_enabled = false }
  }
  assert {
    condition     = toset([for name in keys(aws_cloudwatch_metric_alarm.this) : local.alarms[name].source]) == toset(["balancer", "lambda"])
    error_message = "alarms that look at metrics which are not written are not made"
  }
}

run "a_stop_timeout_that_fargate_does_not_know" {
  command = plan
  variables {
    stop_timeout = 300
  }
  expect_failures = [var.stop_timeout]
}
