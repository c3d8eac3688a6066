data "aws_region" "current" {}
data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  has_load_balancer = var.load_balancer != "none"
  has_certificate   = local.has_load_balancer && var.certificate_arn != null
  http_port         = var.settings.incoming_request_http_port
  control_ports = concat(
    [var.settings.control_channel_http2_port],
    coalesce(var.settings.allow_insecure_control_channel, false) ? [var.settings.control_channel_insecure_http2_port] : [],
  )
  # An ARN's eighth part, where there is one, is the qualifier.
  function_name = split(":", var.function_arn)[6]
}

# The router -----------------------------------------------------------------------------------------------------------

resource "aws_ecs_cluster" "this" {
  count = var.cluster_arn == null ? 1 : 0
  name  = var.name
  tags  = var.tags
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "router" {
  #checkov:skip=CKV_AWS_158:encrypted by the service; a customer key is the account's decision
  #checkov:skip=CKV_AWS_338:log_days is the account's decision
  name_prefix       = "/${var.name}/router-"
  retention_in_days = var.log_days
  tags              = var.tags
}

resource "aws_security_group" "router" {
  name_prefix = "${var.name}-router-"
  description = "lambda-dispatch: router"
  vpc_id      = var.vpc_id
  tags        = var.tags
}

resource "aws_vpc_security_group_egress_rule" "api" {
  security_group_id = aws_security_group.router.id
  description       = "Lambda API and logs"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_ingress_rule" "control" {
  for_each                     = toset([for port in local.control_ports : tostring(port)])
  security_group_id            = aws_security_group.router.id
  description                  = "instances call back"
  ip_protocol                  = "tcp"
  from_port                    = tonumber(each.value)
  to_port                      = tonumber(each.value)
  referenced_security_group_id = var.function_security_group_id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  count                        = local.has_load_balancer ? 1 : 0
  security_group_id            = aws_security_group.router.id
  description                  = "clients, through the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = local.http_port
  to_port                      = local.http_port
  referenced_security_group_id = aws_security_group.load_balancer[0].id
}

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

data "aws_iam_policy_document" "invoke" {
  statement {
    actions   = ["lambda:InvokeFunction"]
    resources = [var.function_arn]
  }
}

data "aws_iam_policy_document" "secrets" {
  count = length(local.secrets_environment) > 0 ? 1 : 0
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = values(local.secrets_environment)
  }
}

resource "aws_iam_role" "task" {
  name_prefix        = "${var.name}-task-"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "invoke" {
  name   = "invoke"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.invoke.json
}

resource "aws_iam_role" "execution" {
  name_prefix        = "${var.name}-execution-"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_iam_role_policy" "secrets" {
  count  = length(local.secrets_environment) > 0 ? 1 : 0
  name   = "secrets"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.secrets[0].json
}

resource "aws_ecs_task_definition" "router" {
  family                   = "${var.name}-router"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  tags                     = var.tags
  runtime_platform {
    cpu_architecture        = var.architecture
    operating_system_family = "LINUX"
  }
  container_definitions = jsonencode([{
    name                   = "router"
    image                  = var.router_image
    essential              = true
    readonlyRootFilesystem = true
    user                   = "65532:65532"
    stopTimeout            = var.stop_timeout
    linuxParameters        = { capabilities = { drop = ["ALL"] } }
    portMappings = [
      for port in concat([local.http_port], local.control_ports) : { containerPort = port, protocol = "tcp" }
    ]
    healthCheck = {
      command     = ["CMD", "lambda-dispatch", "healthcheck", "http://127.0.0.1:${local.http_port}/health?ready"]
      interval    = 5
      timeout     = 3
      retries     = 3
      startPeriod = 180 # with min_instances a new router is not healthy before its first instance is open
    }
    ulimits = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
    environment = [
      for name, value in merge(local.settings_environment, { LAMBDA_DISPATCH_FunctionName = var.function_arn }) :
      { name = name, value = value }
    ]
    secrets = [for name, arn in local.secrets_environment : { name = name, valueFrom = arn }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.router.name
        awslogs-region        = data.aws_region.current.name
        awslogs-stream-prefix = "router"
        mode                  = "non-blocking"
        max-buffer-size       = "8m"
      }
    }
  }])
}

resource "aws_ecs_service" "router" {
  name                              = "${var.name}-router"
  cluster                           = var.cluster_arn == null ? aws_ecs_cluster.this[0].arn : var.cluster_arn
  task_definition                   = aws_ecs_task_definition.router.arn
  desired_count                     = var.min_tasks
  launch_type                       = "FARGATE"
  propagate_tags                    = "SERVICE"
  availability_zone_rebalancing     = "ENABLED"
  health_check_grace_period_seconds = local.has_load_balancer ? 180 : null
  tags                              = var.tags
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  dynamic "alarms" {
    for_each = local.has_load_balancer ? [aws_cloudwatch_metric_alarm.this[local.rollback_alarm].alarm_name] : []
    content {
      alarm_names = [alarms.value]
      enable      = true
      rollback    = true
    }
  }
  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.router.id]
    assign_public_ip = false
  }
  dynamic "load_balancer" {
    for_each = local.has_load_balancer ? [1] : []
    content {
      container_name   = "router"
      container_port   = local.http_port
      target_group_arn = aws_lb_target_group.router[0].arn
    }
  }
  lifecycle {
    ignore_changes = [desired_count] # the scaling policy's
  }
  depends_on = [aws_lb_listener.http, aws_lb_listener.https]
}

# The load balancer ----------------------------------------------------------------------------------------------------

resource "aws_security_group" "load_balancer" {
  count       = local.has_load_balancer ? 1 : 0
  name_prefix = "${var.name}-lb-"
  description = "lambda-dispatch: load balancer"
  vpc_id      = var.vpc_id
  tags        = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "http" {
  #checkov:skip=CKV_AWS_260:client_cidrs says who, by default private addresses; with a certificate it only redirects
  for_each          = local.has_load_balancer ? toset(var.client_cidrs) : []
  security_group_id = aws_security_group.load_balancer[0].id
  description       = "clients"
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 80
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_ingress_rule" "https" {
  for_each          = local.has_certificate ? toset(var.client_cidrs) : []
  security_group_id = aws_security_group.load_balancer[0].id
  description       = "clients"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_egress_rule" "router" {
  count                        = local.has_load_balancer ? 1 : 0
  security_group_id            = aws_security_group.load_balancer[0].id
  description                  = "to the router alone"
  ip_protocol                  = "tcp"
  from_port                    = local.http_port
  to_port                      = local.http_port
  referenced_security_group_id = aws_security_group.router.id
}

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:the router's access log has each request; a bucket for a second one is the account's decision
  #checkov:skip=CKV_AWS_150:what cannot be destroyed is no good first day; set it for production
  #checkov:skip=CKV2_AWS_28:a WAF is the account's decision; associate one with the output load_balancer_arn
  #checkov:skip=CKV2_AWS_20:with a certificate the HTTP listener redirects
  count                      = local.has_load_balancer ? 1 : 0
  name_prefix                = "ld-"
  internal                   = var.load_balancer == "internal"
  load_balancer_type         = "application"
  security_groups            = [aws_security_group.load_balancer[0].id]
  subnets                    = var.load_balancer_subnet_ids
  drop_invalid_header_fields = true
  desync_mitigation_mode     = "strictest"
  idle_timeout               = 60 # less than the router's KeepaliveTimeout: the load balancer is the one that closes
  tags                       = var.tags
}

resource "aws_lb_target_group" "router" {
  #checkov:skip=CKV_AWS_378:HTTP inside the VPC between two security groups; TLS ends at the load balancer
  count                         = local.has_load_balancer ? 1 : 0
  name_prefix                   = "ld-"
  vpc_id                        = var.vpc_id
  target_type                   = "ip"
  protocol                      = "HTTP"
  port                          = local.http_port
  deregistration_delay          = var.longest_request
  load_balancing_algorithm_type = var.max_tasks == 1 ? "round_robin" : "least_outstanding_requests"
  tags                          = var.tags
  health_check {
    path                = "/health?ready"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "http" {
  #checkov:skip=CKV_AWS_2:without a certificate there is no HTTPS; the default load balancer is internal
  #checkov:skip=CKV_AWS_103:it redirects to HTTPS where there is a certificate
  count             = local.has_load_balancer ? 1 : 0
  load_balancer_arn = aws_lb.this[0].arn
  port              = 80
  protocol          = "HTTP"
  default_action {
    type             = local.has_certificate ? "redirect" : "forward"
    target_group_arn = local.has_certificate ? null : aws_lb_target_group.router[0].arn
    dynamic "redirect" {
      for_each = local.has_certificate ? [1] : []
      content {
        protocol    = "HTTPS"
        port        = "443"
        status_code = "HTTP_301"
      }
    }
  }
}

resource "aws_lb_listener" "https" {
  count             = local.has_certificate ? 1 : 0
  load_balancer_arn = aws_lb.this[0].arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.router[0].arn
  }
}

# More than one router, and alarms ---------------------------------------------------------------------------------------

resource "aws_appautoscaling_target" "router" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${split("/", aws_ecs_service.router.cluster)[1]}/${aws_ecs_service.router.name}"
  min_capacity       = var.min_tasks
  max_capacity       = var.max_tasks
}

resource "aws_appautoscaling_policy" "cpu" {
  name               = "cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.router.service_namespace
  scalable_dimension = aws_appautoscaling_target.router.scalable_dimension
  resource_id        = aws_appautoscaling_target.router.resource_id
  target_tracking_scaling_policy_configuration {
    target_value       = 50
    scale_out_cooldown = 60
    scale_in_cooldown  = 300 # each task owns environments: one that goes takes warm ones with it
    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

# What the alarms of alarms.tf look at.
locals {
  alarm_sources = {
    router = {
      made       = coalesce(var.settings.cloud_watch_metrics_enabled, false)
      namespace  = "LambdaDispatch"
      dimensions = { Function = var.function_arn }
    }
    lambda = {
      made       = true
      namespace  = "AWS/Lambda"
      dimensions = { FunctionName = local.function_name }
    }
    balancer = {
      made      = local.has_load_balancer
      namespace = "AWS/ApplicationELB"
      dimensions = {
        LoadBalancer = try(aws_lb.this[0].arn_suffix, null)
        TargetGroup  = try(aws_lb_target_group.router[0].arn_suffix, null)
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = { for name, alarm in local.alarms : name => alarm if local.alarm_sources[alarm.source].made }
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.datapoints
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arn == null ? [] : [var.alarm_topic_arn]
  tags                = var.tags
  dynamic "metric_query" {
    for_each = each.value.metrics
    content {
      id          = metric_query.key
      return_data = each.value.expression == ""
      metric {
        namespace   = local.alarm_sources[each.value.source].namespace
        metric_name = metric_query.value.metric
        dimensions  = local.alarm_sources[each.value.source].dimensions
        stat        = metric_query.value.stat
        period      = each.value.period
      }
    }
  }
  dynamic "metric_query" {
    for_each = each.value.expression == "" ? [] : [each.value.expression]
    content {
      id          = "result"
      expression  = metric_query.value
      return_data = true
    }
  }
}
