# A function that is an application's image with the extension in it.

data "aws_partition" "current" {}

data "aws_iam_policy_document" "lambda" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "function" {
  name_prefix        = "${var.name}-"
  assume_role_policy = data.aws_iam_policy_document.lambda.json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "vpc" {
  role       = aws_iam_role.function.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
}

resource "aws_security_group" "function" {
  name_prefix = "${var.name}-"
  description = "lambda-dispatch: execution environments; nothing comes in"
  vpc_id      = var.vpc_id
  tags        = var.tags
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.function.id
  description       = "the router, and what the application calls"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_50:tracing an invoke that lasts 15 minutes says nothing of a request
  #checkov:skip=CKV_AWS_115:reserved_concurrency sets it; without it max_instances of the router bounds the environments
  #checkov:skip=CKV_AWS_116:invokes are synchronous, a dead letter queue would never see one
  #checkov:skip=CKV_AWS_173:the variables hold no secret
  #checkov:skip=CKV_AWS_272:images are not signed by Lambda code signing
  function_name                  = var.name
  package_type                   = "Image"
  image_uri                      = var.image
  role                           = aws_iam_role.function.arn
  architectures                  = [var.architecture]
  memory_size                    = var.memory
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved_concurrency
  tags                           = var.tags
  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = [aws_security_group.function.id]
  }
  dynamic "environment" {
    for_each = length(var.environment) > 0 ? [1] : []
    content {
      variables = var.environment
    }
  }
}
