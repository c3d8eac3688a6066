# Function and router, HTTPS, alarms, settings and a secret.

variable "vpc_id" { type = string }
variable "private_subnet_ids" { type = list(string) }
variable "public_subnet_ids" { type = list(string) }
variable "router_image" { type = string }
variable "application_image" { type = string }
variable "certificate_arn" { type = string }
variable "alarm_topic_arn" { type = string }
variable "admin_token_secret_arn" { type = string }

module "function" {
  source = "../../modules/function"

  name       = "application"
  image      = var.application_image
  vpc_id     = var.vpc_id
  subnet_ids = var.private_subnet_ids
}

module "router" {
  source = "../.."

  vpc_id                     = var.vpc_id
  subnet_ids                 = var.private_subnet_ids
  load_balancer              = "internet-facing"
  load_balancer_subnet_ids   = var.public_subnet_ids
  client_cidrs               = ["0.0.0.0/0"]
  certificate_arn            = var.certificate_arn
  router_image               = var.router_image
  function_arn               = module.function.arn
  function_security_group_id = module.function.security_group_id
  min_tasks                  = 2
  max_tasks                  = 6
  alarm_topic_arn            = var.alarm_topic_arn
  settings = {
    max_concurrent_count = 20
    min_instances        = 2
    max_instances        = 300
  }
  secret_arns = {
    admin_token = var.admin_token_secret_arn
  }
}

output "url" {
  value = module.router.url
}
